// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Vm} from "forge-std/Vm.sol";
import {ISessionKeyValidator, Status, Stop} from "../../src/interfaces/ISessionKeyValidator.sol";
import {World} from "./World.sol";

/// Several grants stopped in one call, by whoever tries: of one account or several, some twice, some unknown.
abstract contract StopActions is World {
    function stopSeveral(uint8[3] memory which, uint8 who, uint8 number, uint8 kinds) external step {
        GrantModel storage first = _grant(which[0]);
        address from = _caller(who, first.account);
        Stop[] memory stops = new Stop[](number % 4);
        bytes memory expected;
        for (uint256 i = 0; i < stops.length; i++) {
            GrantModel storage g = _grant(which[i]);
            bool unknown = kinds >> (i + 3) == 0;
            // Seldom for good: what is revoked makes no more history.
            bool revokes = (uint256(kinds) + which[i]) % 8 == 0;
            stops[i] = Stop(g.account, unknown ? keccak256(abi.encode(kinds, i)) : g.id, revokes);
            expected = bytes.concat(expected, _stop(g, stops[i], from, unknown));
        }
        vm.recordLogs();
        _call("stopMany", from, address(module), abi.encodeCall(module.stopMany, (stops)), "");
        _expect(keccak256(_events()) == keccak256(expected), "events of stopMany", abi.encode(stops));
    }

    /// Books it in the model, and says which event tells of it.
    function _stop(GrantModel storage g, Stop memory stop, address from, bool unknown)
        private
        returns (bytes memory told)
    {
        bytes4 reason;
        if (from != g.account && from != states[g.account].guardian) {
            reason = ISessionKeyValidator.Unauthorized.selector;
        } else if (unknown || (g.status == Status.Revoked && !stop.revokes)) {
            reason = ISessionKeyValidator.GrantNotLive.selector;
        }
        if (reason != 0) {
            count["stop skipped"]++;
            return _event(ISessionKeyValidator.StopSkipped.selector, stop, abi.encode(reason));
        }
        Status target = stop.revokes ? Status.Revoked : Status.Frozen;
        if (g.status == target) return "";
        g.status = target;
        count[stop.revokes ? bytes32("revoked with others") : bytes32("frozen with others")]++;
        bytes32 topic =
            stop.revokes ? ISessionKeyValidator.GrantRevoked.selector : ISessionKeyValidator.GrantFrozen.selector;
        return _event(topic, stop, abi.encode(from));
    }

    function _event(bytes32 topic, Stop memory stop, bytes memory data) private pure returns (bytes memory) {
        bytes32[] memory topics = new bytes32[](3);
        (topics[0], topics[1], topics[2]) = (topic, bytes32(uint256(uint160(stop.account))), stop.grantId);
        return abi.encodePacked(keccak256(abi.encode(topics, data)));
    }

    function _events() private returns (bytes memory all) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter != address(module)) continue;
            all = bytes.concat(all, keccak256(abi.encode(logs[i].topics, logs[i].data)));
        }
    }
}
