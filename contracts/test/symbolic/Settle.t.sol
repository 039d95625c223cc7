// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {SymbolicTest} from "./SymbolicTest.sol";

/// What one claim can do, under any grant in any state.
contract SettleSymbolicTest is SymbolicTest {
    struct Figures {
        Status status;
        uint256 settled;
        uint256 periodIndex;
        uint256 periodSettled;
        uint256 channel;
        uint256 payeeBalance;
        uint256 pool;
    }

    function check_settle_paysNothingButWhatIsAllowed_singlePayee(
        address account,
        Terms memory terms,
        Claim memory claim,
        uint64 time
    ) public {
        settleAny(account, terms, claim, SINGLE, time);
    }

    function check_settle_paysNothingButWhatIsAllowed_knownPayee(
        address account,
        Terms memory terms,
        Claim memory claim,
        uint64 time
    ) public {
        settleAny(account, terms, claim, KNOWN, time);
    }

    function check_settle_paysNothingButWhatIsAllowed_provenPayee(
        address account,
        Terms memory terms,
        Claim memory claim,
        bytes32 element,
        uint64 time
    ) public {
        settleAny(account, terms, claim, oneElement(element), time);
    }

    function settleAny(address account, Terms memory terms, Claim memory claim, bytes memory proof, uint64 time)
        internal
    {
        anyState(time);
        terms.token = address(usdc);
        vm.assume(terms.source <= 1);
        bytes memory packed = pack(terms);
        bytes32 id = module.grantIdOf(account, packed);
        Figures memory before = figures(account, id, packed, claim.payee);
        vm.assume(before.payeeBalance <= type(uint128).max);
        vm.assume(keccak256(proof) == keccak256(SINGLE) || terms.payeeRoot != leafOf(claim.payee));

        try module.settle(account, packed, pack(claim, proof)) returns (uint256 paid) {
            Figures memory later = figures(account, id, packed, claim.payee);
            isLive(account, terms, before.status, time);
            growsByWhatIsPaid(account, terms, claim, before, later, paid);
            if (paid != 0) isAllowed(id, terms, claim, before, later, time);
        } catch {}
    }

    function isLive(address account, Terms memory terms, Status status, uint64 time) internal view {
        (,,, bool frozen) = module.accountState(account);
        assert(status == Status.Active && !frozen);
        assert(time >= terms.validAfter && time <= terms.validUntil);
    }

    /// What is settled never falls, nor does what the payee has; and the money comes from where the grant says.
    function growsByWhatIsPaid(
        address account,
        Terms memory terms,
        Claim memory claim,
        Figures memory before,
        Figures memory later,
        uint256 paid
    ) internal view {
        assert(later.status == before.status);
        assert(later.settled == before.settled + paid);
        assert(later.channel == before.channel + paid);
        bool toItself = claim.payee == (terms.source == 0 ? account : address(reserve));
        assert(later.payeeBalance == before.payeeBalance + (toItself ? 0 : paid));
        assert(later.pool == before.pool - (terms.source == 0 ? 0 : paid));
    }

    /// Signed by the session key, at most the voucher, the total limit and the period's limit.
    function isAllowed(
        bytes32 id,
        Terms memory terms,
        Claim memory claim,
        Figures memory before,
        Figures memory later,
        uint64 time
    ) internal view {
        assert(claim.amount <= claim.cumulativeAmount);
        assert(later.channel == claim.amount);
        assert(later.settled <= terms.totalLimit);
        bytes32 voucher = module.hashVoucher(id, claim.payee, claim.cumulativeAmount);
        uint8 v = uint8(27 + (uint256(claim.yParityAndS) >> 255));
        bytes32 s = bytes32(uint256(claim.yParityAndS) & (type(uint256).max >> 1));
        assert(ecrecover(voucher, v, claim.r, s) == terms.sessionKey);
        if (terms.period == 0) return;
        uint256 paid = later.settled - before.settled;
        uint32 period = uint32((time - terms.validAfter) / terms.period);
        assert(later.periodIndex == period);
        assert(later.periodSettled == (before.periodIndex == period ? before.periodSettled : 0) + paid);
        assert(later.periodSettled <= terms.periodLimit);
    }

    function figures(address account, bytes32 id, bytes memory packed, address payee)
        internal
        view
        returns (Figures memory f)
    {
        (f.status, f.settled, f.periodIndex, f.periodSettled) = module.grantState(account, id);
        f.channel = module.channelSettled(account, packed, payee);
        f.payeeBalance = usdc.balanceOf(payee);
        (f.pool,,) = reserve.poolOf(account, address(usdc));
    }

    function leafOf(address payee) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(payee))));
    }
}
