// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Vm} from "forge-std/Vm.sol";
import {ISessionKeyValidator, Settlement, Status} from "../../src/interfaces/ISessionKeyValidator.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {Drafts} from "./Drafts.sol";

/// Vouchers presented by anybody, in whatever order and state; what the model says each pays; and what was paid.
abstract contract SettleActions is Drafts {
    /// What a settlement should do. `trail` has the hash of each event the module should emit.
    struct Forecast {
        bytes problem;
        uint256 paid;
        bytes trail;
    }

    /// Of what the token has, how much this call has moved already.
    mapping(uint256 call => mapping(address token => mapping(address account => uint256))) private _spent;
    uint256 private _calls;
    /// Settled figures that went down.
    uint256 public fallen;

    // ---------------------------------------------------------------------------------------------------- actions

    /// One honest new claim.
    function settleVoucher(uint8 which, ClaimSeed memory seed) external step {
        seed.kind = seed.kind % REPLAY;
        seed.proof = seed.proof % KNOWN;
        _settleOne(_payingGrant(which), seed, which);
    }

    /// A payee that shows no proof, mostly one that was paid before.
    function settleKnownPayee(uint8 which, ClaimSeed memory seed) external step {
        seed.kind = seed.kind % (REPLAY + 1);
        seed.proof = KNOWN + seed.proof % 2;
        for (uint256 i = 0; i < grants.length; i++) {
            GrantModel storage g = _grant(uint256(which) + i);
            if (g.payees == 1 || !_isLive(g) || settledTo[g.id][payees[seed.payee % g.payees]] == 0) continue;
            return _settleOne(g, seed, which);
        }
        _settleOne(_payingGrant(which), seed, which);
    }

    /// What was paid before, and vouchers with less than that.
    function settleAgain(uint8 which, ClaimSeed memory seed) external step {
        seed.kind = REPLAY + seed.kind % 2;
        _settleOne(_payingGrant(which), seed, which);
    }

    /// Claims that lie.
    function settleForged(uint8 which, ClaimSeed memory seed) external step {
        seed.kind = ABOVE_VOUCHER + seed.kind % (OUTSIDER + 1 - ABOVE_VOUCHER);
        seed.proof = seed.proof % KNOWN;
        _settleOne(_payingGrant(which), seed, which);
    }

    /// Any claims, encoded in any way, to several payees.
    function settleClaims(uint8 which, ClaimSeed[3] memory seeds, uint8 claims, uint8 encoding) external step {
        GrantModel storage g = _payingGrant(which);
        _settle(g, _batch(g, _drafts(g, seeds, claims), encoding), which);
    }

    /// The same for several grants in one transaction.
    function settleSeveral(uint8[3] memory which, ClaimSeed[3] memory seeds, uint8 number, uint24 encodings)
        external
        step
    {
        Batch[] memory batches = new Batch[](number % 4);
        for (uint256 i = 0; i < batches.length; i++) {
            GrantModel storage g = _payingGrant(which[i]);
            batches[i] = _batch(g, _drafts(g, seeds, uint256(number) + which[i]), uint8(encodings >> (8 * i)));
        }
        _settleMany(batches);
    }

    // -------------------------------------------------------------------------------------------------- the calls

    function _settleOne(GrantModel storage g, ClaimSeed memory seed, uint256 who) private {
        Draft[] memory drafts = new Draft[](1);
        drafts[0] = _draft(g, seed);
        _settle(g, _batch(g, drafts, SOUND), who);
    }

    function _drafts(GrantModel storage g, ClaimSeed[3] memory seeds, uint256 claims)
        private
        returns (Draft[] memory drafts)
    {
        drafts = new Draft[](g.payees == 1 && claims % 8 != 0 ? 1 : 1 + claims / 8 % 3);
        for (uint256 i = 0; i < drafts.length; i++) {
            drafts[i] = _draft(g, seeds[i]);
        }
    }

    function _settle(GrantModel storage g, Batch memory b, uint256 who) private {
        _calls++;
        uint256 live = _liveGrants();
        Forecast memory f = _forecast(b);
        bytes memory data = abi.encodeCall(module.settle, (b.account, b.terms, b.claims));
        vm.recordLogs();
        bytes memory answer = _call("settle", _caller(who, g.account), address(module), data, f.problem);
        if (f.problem.length == 0) {
            _expect(keccak256(answer) == keccak256(abi.encode(f.paid)), "paid by settle", answer);
            _expect(keccak256(_trail()) == keccak256(f.trail), "events of settle", b.claims);
        }
        _measure(live);
    }

    function _settleMany(Batch[] memory batches) private {
        _calls++;
        uint256 live = _liveGrants();
        Settlement[] memory settlements = new Settlement[](batches.length);
        uint256[] memory paid = new uint256[](batches.length);
        bytes memory trail;
        bool traceable = true;
        for (uint256 i = 0; i < batches.length; i++) {
            Batch memory b = batches[i];
            settlements[i] = Settlement(b.account, b.terms, b.claims);
            Forecast memory f = _forecast(b);
            paid[i] = f.paid;
            if (f.problem.length == 0) {
                trail = bytes.concat(trail, f.trail);
                count["settled with others"]++;
            } else {
                trail = bytes.concat(trail, _skipEvent(b.account, f.problem));
                count["settlement skipped"]++;
                // The recorder also keeps what a reverted call emitted.
                if (b.malformedAt != 0 && b.malformedAt != READABLE) traceable = false;
            }
        }
        vm.recordLogs();
        bytes memory data = abi.encodeCall(module.settleMany, (settlements));
        bytes memory answer = _call("settleMany", stranger, address(module), data, "");
        _expect(keccak256(answer) == keccak256(abi.encode(paid)), "paid by settleMany", answer);
        if (traceable) _expect(keccak256(_trail()) == keccak256(trail), "events of settleMany", data);
        _measure(live);
    }

    // ------------------------------------------------------------------------------------------------- the model

    /// What should happen, written to the model as if it had.
    function _forecast(Batch memory b) private returns (Forecast memory f) {
        bytes32 id = _idOf(b.account, states[b.account].epoch, b.terms);
        f.problem = _problem(b, id);
        if (f.problem.length != 0) return f;
        GrantModel storage g = grants[indexOf[id] - 1];
        for (uint256 i = 0; i < b.drafts.length; i++) {
            Draft memory d = b.drafts[i];
            (bytes4 reason, uint256 due) = _judge(g, d);
            count[reason == 0 ? bytes32("claim paid") : bytes32(reason)]++;
            if (reason == 0) {
                if (d.proofLength == KNOWN_PAYEE) count["known payee paid"]++;
                _book(g, d, due);
                f.paid += due;
            }
            f.trail = bytes.concat(f.trail, _claimEvent(g, d.payee, reason, due));
        }
    }

    /// Why the whole settlement is refused; empty if it is not.
    function _problem(Batch memory b, bytes32 id) private view returns (bytes memory) {
        if (b.terms.length != 157) {
            return abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, b.terms.length);
        }
        if (indexOf[id] == 0) return _notLive(id, Status.None);
        GrantModel storage g = grants[indexOf[id] - 1];
        if (g.status != Status.Active) return _notLive(id, g.status);
        if (states[b.account].frozen) {
            return abi.encodeWithSelector(ISessionKeyValidator.AccountIsFrozen.selector, b.account);
        }
        if (!_isLive(g)) {
            return abi.encodeWithSelector(
                ISessionKeyValidator.OutsideValidity.selector, id, g.terms.validAfter, g.terms.validUntil
            );
        }
        if (b.malformedAt != READABLE) {
            return abi.encodeWithSelector(ISessionKeyValidator.MalformedClaims.selector, b.malformedAt);
        }
        return "";
    }

    /// Why a claim is not paid, or zero and what it is paid.
    function _judge(GrantModel storage g, Draft memory d) private view returns (bytes4 reason, uint256 due) {
        uint256 before = settledTo[g.id][d.payee];
        if (!_isAllowed(g, d, before)) return (ISessionKeyValidator.InvalidProof.selector, 0);
        if (d.amount > d.cumulativeAmount) return (ISessionKeyValidator.AmountAboveVoucher.selector, 0);
        if (d.amount <= before) return (ISessionKeyValidator.NothingDue.selector, 0);
        due = d.amount - before;
        if (settledTotal[g.id] + due > g.terms.totalLimit) {
            return (ISessionKeyValidator.TotalLimitExceeded.selector, 0);
        }
        if (g.terms.period != 0 && settledIn[g.id][_period(g)] + due > g.terms.periodLimit) {
            return (ISessionKeyValidator.PeriodLimitExceeded.selector, 0);
        }
        if (
            d.signedBy != g.terms.sessionKey || d.signedId != g.id || d.signedPayee != d.payee
                || d.signedAmount != d.cumulativeAmount
        ) return (ISessionKeyValidator.InvalidSignature.selector, 0);
        if (!_hasFunds(g, d.payee, due)) return (ISessionKeyValidator.TransferFailed.selector, 0);
    }

    function _isAllowed(GrantModel storage g, Draft memory d, uint256 before) private view returns (bool) {
        if (g.payees == 1) return d.proofLength == 0 && d.payee == g.only;
        if (d.proofLength == KNOWN_PAYEE) return before != 0;
        return d.proofLength != 0 && d.proven;
    }

    function _hasFunds(GrantModel storage g, address to, uint256 due) private view returns (bool) {
        TestUSDC token = TestUSDC(g.terms.token);
        if (token.isBlocked(to)) return false;
        if (g.terms.source == 1) {
            return !token.isBlocked(address(reserve)) && pools[g.account][address(token)].balance >= due;
        }
        uint256 needed = due + _spent[_calls][address(token)][g.account];
        return !token.isBlocked(g.account) && token.balanceOf(g.account) >= needed
            && token.allowance(g.account, address(module)) >= needed;
    }

    function _book(GrantModel storage g, Draft memory d, uint256 due) private {
        settledTo[g.id][d.payee] += due;
        settledTotal[g.id] += due;
        settledIn[g.id][_period(g)] += due;
        if (g.terms.source == 1) pools[g.account][g.terms.token].balance -= due;
        else _spent[_calls][g.terms.token][g.account] += due;
        lastPaid[g.id][d.payee] = d;
    }

    function _period(GrantModel storage g) private view returns (uint256) {
        return g.terms.period == 0 ? 0 : (time - g.terms.validAfter) / g.terms.period;
    }

    // ------------------------------------------------------------------------------------------------- the events

    function _claimEvent(GrantModel storage g, address to, bytes4 reason, uint256 due)
        private
        view
        returns (bytes memory)
    {
        bytes32[] memory topics = new bytes32[](4);
        topics[0] = reason == 0 ? ISessionKeyValidator.Settled.selector : ISessionKeyValidator.ClaimSkipped.selector;
        topics[1] = bytes32(uint256(uint160(g.account)));
        topics[2] = g.id;
        topics[3] = bytes32(uint256(uint160(to)));
        bytes memory data = reason == 0 ? abi.encode(due, settledTo[g.id][to]) : abi.encode(reason);
        return abi.encodePacked(keccak256(abi.encode(topics, data)));
    }

    function _skipEvent(address account_, bytes memory problem) private pure returns (bytes memory) {
        bytes32[] memory topics = new bytes32[](2);
        topics[0] = ISessionKeyValidator.SettlementSkipped.selector;
        topics[1] = bytes32(uint256(uint160(account_)));
        return abi.encodePacked(keccak256(abi.encode(topics, abi.encode(problem))));
    }

    /// The hashes of what the module emitted since the recorder was started.
    function _trail() private returns (bytes memory trail) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter != address(module)) continue;
            trail = bytes.concat(trail, keccak256(abi.encode(logs[i].topics, logs[i].data)));
        }
    }

    // -------------------------------------------------------------------------------------------- the measurements

    function _liveGrants() private view returns (uint256 live) {
        for (uint256 i = 0; i < grants.length; i++) {
            if (_isLive(grants[i])) live |= 1 << i;
        }
    }

    /// What each grant has paid since the last measurement, from the chain. `live` are those that might.
    function _measure(uint256 live) private {
        for (uint256 i = 0; i < grants.length; i++) {
            GrantModel storage g = grants[i];
            (, uint256 settled,,) = module.grantState(g.account, g.id);
            if (settled == paidTotal[g.id]) continue;
            if (settled < paidTotal[g.id]) {
                fallen++;
                continue;
            }
            uint256 paid = settled - paidTotal[g.id];
            paidTotal[g.id] = settled;
            if (live & (1 << i) == 0) paidWhileStopped += paid;
            uint256 inPeriod = paidIn[g.id][_period(g)] += paid;
            if (inPeriod > highestPeriod[g.id]) highestPeriod[g.id] = inPeriod;
            for (uint256 j = 0; j < PAYEES; j++) {
                paidTo[g.id][payees[j]] = module.channelSettled(g.account, g.packed, payees[j]);
            }
        }
    }
}
