// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISessionKeyValidator, Settlement, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {CallbackToken} from "../mocks/CallbackToken.sol";
import {OddToken, Oddity} from "../mocks/OddToken.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Settling for many accounts in one transaction: each by itself, whatever is wrong with the others.
contract SessionKeyValidatorSettleManyTest is StreamTest {
    function test_settleMany_paysEachAndSaysHowMuch() public {
        Settlement[] memory settlements = new Settlement[](3);
        for (uint96 i = 0; i < settlements.length; i++) {
            settlements[i] = settlementOf(useAccount(i), 1e6 * (i + 1));
        }
        vm.prank(stranger);
        uint256[] memory paid = module.settleMany(settlements);
        assertEq(paid.length, 3);
        for (uint256 i = 0; i < paid.length; i++) {
            assertEq(paid[i], 1e6 * (i + 1));
            assertEq(usdc.balanceOf(settlements[i].account), FUNDS - paid[i]);
        }
        assertEq(usdc.balanceOf(payee), 6e6);
    }

    function test_settleMany_ofNothingDoesNothing() public {
        vm.recordLogs();
        assertEq(module.settleMany(new Settlement[](0)).length, 0);
        assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_settleMany_paysTheSameSettlementOnce() public {
        Settlement[] memory settlements = new Settlement[](3);
        settlements[0] = settlementOf(useAccount(0), 5e6);
        settlements[1] = settlements[0];
        settlements[2] = settlementOf(account, 7e6);
        uint256[] memory paid = module.settleMany(settlements);
        assertEq(paid[0], 5e6);
        assertEq(paid[1], 0);
        // The highest voucher counts, not the sum.
        assertEq(paid[2], 2e6);
        assertEq(usdc.balanceOf(payee), 7e6);
        assertEq(module.settleMany(settlements)[0], 0);
    }

    /// Everything that `settle` reverts for, each between two that are paid.
    function test_settleMany_skipsWhatSettleWouldRevertForAndPaysTheRest() public {
        Settlement[] memory settlements = new Settlement[](19);
        bytes[] memory reasons = new bytes[](9);
        for (uint256 i = 0; i < reasons.length; i++) {
            settlements[2 * i] = settlementOf(useAccount(2 * i), 1e6);
            (settlements[2 * i + 1], reasons[i]) = broken(i, useAccount(2 * i + 1));
        }
        settlements[18] = settlementOf(useAccount(18), 1e6);

        for (uint256 i = 0; i < reasons.length; i++) {
            vm.expectEmit(address(module));
            emit ISessionKeyValidator.SettlementSkipped(settlements[2 * i + 1].account, reasons[i]);
        }
        uint256[] memory paid = module.settleMany(settlements);
        for (uint256 i = 0; i < paid.length; i++) {
            assertEq(paid[i], i % 2 == 0 ? 1e6 : 0);
        }
        assertEq(usdc.balanceOf(payee), 10e6);
        // And what `settle` says of each alone is the reason that was given.
        for (uint256 i = 0; i < reasons.length; i++) {
            Settlement memory one = settlements[2 * i + 1];
            vm.expectRevert(reasons[i]);
            module.settle(one.account, one.terms, one.claims);
        }
    }

    function test_settleMany_goesOnAfterClaimsThatCannotBePaid() public {
        Settlement[] memory settlements = new Settlement[](4);
        address first = useAccount(0);
        settlements[0] = settlementOf(first, 1e6);
        vm.prank(first);
        usdc.approve(address(module), 0);
        settlements[1] = settlementOf(useAccount(1), 1e6);
        usdc.setBlocked(account, true);
        settlements[2] = settlementOf(useAccount(2), 1e6);
        settlements[2].claims[60] ^= 0x01; // the signature
        settlements[3] = settlementOf(useAccount(3), 1e6);

        bytes4[3] memory reasons = [
            ISessionKeyValidator.TransferFailed.selector,
            ISessionKeyValidator.TransferFailed.selector,
            ISessionKeyValidator.InvalidSignature.selector
        ];
        for (uint256 i = 0; i < reasons.length; i++) {
            bytes32 id = module.grantIdOf(settlements[i].account, settlements[i].terms);
            vm.expectEmit(address(module));
            emit ISessionKeyValidator.ClaimSkipped(settlements[i].account, id, payee, reasons[i]);
        }
        uint256[] memory paid = module.settleMany(settlements);
        assertEq(paid[0] + paid[1] + paid[2], 0);
        assertEq(paid[3], 1e6);
    }

    function test_settleMany_paysFromReserves() public {
        Terms memory prepaid = singleTerms();
        prepaid.source = 1;
        Settlement[] memory settlements = new Settlement[](2);
        for (uint256 i = 0; i < settlements.length; i++) {
            useAccount(i);
            (bytes32 id, bytes memory packed) = grant(prepaid);
            settlements[i] = Settlement(account, packed, pack(claimOf(id, 3e6)));
        }
        // The second account alone has filled its pool.
        vm.startPrank(account);
        usdc.approve(address(module.reserve()), 3e6);
        module.reserve().deposit(account, address(usdc), 3e6);
        vm.stopPrank();
        uint256[] memory paid = module.settleMany(settlements);
        assertEq(paid[0], 0);
        assertEq(paid[1], 3e6);
    }

    // ---------------------------------------------------------------------------------------------------- hostile tokens

    function test_settleMany_paysOnceWhenTheTokenSettlesAllOfItAgain() public {
        CallbackToken token = new CallbackToken();
        Settlement[] memory settlements = new Settlement[](2);
        for (uint256 i = 0; i < settlements.length; i++) {
            useAccount(i);
            settlements[i] = settlementIn(address(token), 3e6);
            token.mint(account, 10e6);
        }
        token.callNext(address(module), abi.encodeCall(ISessionKeyValidator.settleMany, (settlements)));
        uint256[] memory paid = module.settleMany(settlements);
        assertEq(token.balanceOf(payee), 6e6);
        // The inner call paid the second: nothing was left of it for the outer one.
        assertEq(paid[0], 3e6);
        assertEq(paid[1], 0);
        for (uint256 i = 0; i < settlements.length; i++) {
            assertEq(token.balanceOf(settlements[i].account), 7e6);
        }
    }

    function test_settleMany_goesOnAfterTokensThatAnswerAtLengthOrWithOtherThanTrue() public {
        Oddity[4] memory oddities = [Oddity.LongAnswer, Oddity.LongRevert, Oddity.Two, Oddity.LongAnswer];
        Settlement[] memory settlements = new Settlement[](5);
        for (uint256 i = 0; i < oddities.length; i++) {
            useAccount(i);
            OddToken token = new OddToken(oddities[i]);
            token.mint(account, 10e6);
            settlements[i] = settlementIn(address(token), 3e6);
        }
        settlements[4] = settlementOf(useAccount(4), 3e6);
        uint256[] memory paid = module.settleMany{gas: 1_500_000}(settlements);
        assertEq(paid[0], 3e6);
        assertEq(paid[1], 0);
        assertEq(paid[2], 0);
        assertEq(paid[3], 3e6);
        assertEq(paid[4], 3e6);
    }

    /// A token that uses all gas takes 63 of 64 parts of it: the others are paid from what is left, or another time.
    function test_settleMany_losesNothingToATokenThatUsesAllGas() public {
        OddToken token = new OddToken(Oddity.BurnGas);
        Settlement[] memory settlements = new Settlement[](2);
        useAccount(0);
        token.mint(account, 10e6);
        settlements[0] = settlementIn(address(token), 3e6);
        settlements[1] = settlementOf(useAccount(1), 3e6);
        uint256 before = vm.snapshotState();
        uint256[] memory paid = module.settleMany{gas: 15_000_000}(settlements);
        assertEq(paid[0], 0);
        assertEq(paid[1], 3e6);

        assertTrue(vm.revertToState(before));
        // Whether this ends or runs out of gas itself, it pays nothing, and nothing is lost.
        try module.settleMany{gas: 1_000_000}(settlements) {} catch {}
        assertEq(usdc.balanceOf(payee), 0);
        Settlement[] memory rest = new Settlement[](1);
        rest[0] = settlements[1];
        assertEq(module.settleMany(rest)[0], 3e6);
    }

    function test_settleMany_withTooLittleGasKeepsEveryVoucherPayable() public {
        Settlement[] memory settlements = new Settlement[](5);
        for (uint256 i = 0; i < settlements.length; i++) {
            settlements[i] = settlementOf(useAccount(i), 1e6);
        }
        uint256 paid = 0;
        for (uint256 gas = 50_000; gas < 500_000; gas += 7000) {
            uint256 before = vm.snapshotState();
            bool reverted = false;
            try module.settleMany{gas: gas}(settlements) {}
            catch {
                reverted = true;
            }
            uint256 received = usdc.balanceOf(payee);
            if (reverted) assertEq(received, 0);
            if (received > paid) paid = received;
            // Whatever this call paid or skipped, all is paid in the end, and once.
            module.settleMany(settlements);
            assertEq(usdc.balanceOf(payee), 5e6);
            assertTrue(vm.revertToState(before));
        }
        assertEq(paid, 5e6, "the most gas pays all");
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    /// From now on `account` is the account of this number, which has the module, money and an allowance.
    function useAccount(uint256 number) internal returns (address) {
        account = makeAddr(string.concat("account ", vm.toString(number)));
        install(account);
        usdc.mint(account, FUNDS);
        vm.prank(account);
        usdc.approve(address(module), type(uint256).max);
        return account;
    }

    /// A claim of the account under its grant to `payee`, which is made if there is none yet.
    function settlementOf(address who, uint96 amount) internal returns (Settlement memory) {
        assertEq(who, account);
        bytes memory packed = pack(singleTerms());
        bytes32 id = module.grantIdOf(who, packed);
        (Status status,,,) = module.grantState(who, id);
        if (status == Status.None) grant(singleTerms());
        return Settlement(who, packed, pack(claimOf(id, amount)));
    }

    /// The same in another token.
    function settlementIn(address token, uint96 amount) internal returns (Settlement memory) {
        Terms memory terms = singleTerms();
        terms.token = token;
        (bytes32 id, bytes memory packed) = grant(terms);
        vm.prank(account);
        IERC20(token).approve(address(module), type(uint256).max);
        return Settlement(account, packed, pack(claimOf(id, amount)));
    }

    /// A settlement of the account that `settle` reverts for, in one of nine ways, and the reason.
    function broken(uint256 way, address who) internal returns (Settlement memory one, bytes memory reason) {
        one = settlementOf(who, 1e6);
        bytes32 id = module.grantIdOf(who, one.terms);
        if (way == 0) {
            one.terms = bytes.concat(one.terms, hex"00");
            return (one, abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, 158));
        }
        if (way == 1) {
            one.claims = "";
            return (one, abi.encodeWithSelector(ISessionKeyValidator.MalformedClaims.selector, 0));
        }
        if (way == 2) {
            one.claims = bytes.concat(one.claims, hex"00");
            return (one, abi.encodeWithSelector(ISessionKeyValidator.MalformedClaims.selector, 0));
        }
        Status status = Status.None;
        vm.startPrank(who);
        if (way == 3) {
            one.terms[60] ^= 0x01; // the total limit
            id = module.grantIdOf(who, one.terms);
        } else if (way == 4) {
            module.freeze(who, id);
            status = Status.Frozen;
        } else if (way == 5) {
            module.revoke(who, id);
            status = Status.Revoked;
        } else if (way == 6) {
            module.onUninstall("");
            id = module.grantIdOf(who, one.terms);
        } else if (way == 7) {
            module.freezeAll(who);
            reason = abi.encodeWithSelector(ISessionKeyValidator.AccountIsFrozen.selector, who);
        } else {
            Terms memory later = singleTerms();
            later.validAfter += 1;
            id = module.grant(later);
            one = Settlement(who, pack(later), pack(claimOf(id, 1e6)));
            reason = abi.encodeWithSelector(
                ISessionKeyValidator.OutsideValidity.selector, id, later.validAfter, later.validUntil
            );
        }
        vm.stopPrank();
        if (reason.length == 0) {
            reason = abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, id, status);
        }
    }
}
