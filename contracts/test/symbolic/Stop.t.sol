// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Status, Stop, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {SymbolicTest} from "./SymbolicTest.sol";

/// What is stopped stays stopped, and nobody but the account raises what may be done with it.
contract StopSymbolicTest is SymbolicTest {
    /// Frozen, revoked or unknown, of a frozen account, or outside its validity.
    function check_settle_alwaysRevertsForAStoppedGrant(
        address account,
        Terms memory terms,
        Claim memory claim,
        uint64 time
    ) public {
        anyState(time);
        bytes memory packed = pack(terms);
        (Status status,,,) = module.grantState(account, module.grantIdOf(account, packed));
        (,,, bool frozen) = module.accountState(account);
        vm.assume(status != Status.Active || frozen || time < terms.validAfter || time > terms.validUntil);
        assert(!settles(account, packed, pack(claim, SINGLE)));
        assert(!settles(account, packed, pack(claim, KNOWN)));
    }

    /// Of whatever other epoch: neither its figure nor its status moves.
    function check_settle_neverTouchesAGrantOfAnotherEpoch(
        address account,
        Terms memory terms,
        Claim memory claim,
        bool known,
        uint64 epoch,
        uint64 time
    ) public {
        anyState(time);
        terms.token = address(usdc);
        bytes memory packed = pack(terms);
        (, uint64 current,,) = module.accountState(account);
        vm.assume(epoch != current);
        bytes32 id = idOf(account, epoch, packed);
        (Status status, uint96 settled,,) = module.grantState(account, id);
        settles(account, packed, pack(claim, known ? KNOWN : SINGLE));
        (Status statusNow, uint96 settledNow,,) = module.grantState(account, id);
        assert(statusNow == status && settledNow == settled);
    }

    /// In an epoch that has just begun nothing is granted, so that nothing is paid.
    function check_settle_alwaysRevertsInANewEpoch(
        address account,
        address caller,
        bool uninstalls,
        Terms memory terms,
        Claim memory claim,
        uint64 time
    ) public {
        anyState(time);
        bytes memory packed = pack(terms);
        (, uint64 epoch, bool installed,) = module.accountState(account);
        vm.assume(epoch < type(uint64).max && installed);
        (Status status,,,) = module.grantState(account, idOf(account, epoch + 1, packed));
        vm.assume(status == Status.None);

        vm.prank(uninstalls ? account : caller);
        if (uninstalls) module.onUninstall("");
        else module.revokeAll(account);
        assert(!settles(account, packed, pack(claim, SINGLE)));
        assert(!settles(account, packed, pack(claim, KNOWN)));
    }

    /// By one call of any function of the module but the two that settle, with any arguments.
    function check_anybodyElse_raisesNothing(
        address account,
        address caller,
        uint8 action,
        address target,
        bytes32 id,
        bytes32 called,
        Terms memory terms,
        uint64 time
    ) public {
        vm.assume(caller != account);
        anyState(time);
        (address guardian, uint64 epoch, bool installed, bool frozen) = module.accountState(account);
        (Status status, uint96 settled,,) = module.grantState(account, id);

        vm.prank(caller);
        (bool success,) = address(module).call(callOf(action, target, called, terms));
        vm.assume(success);

        (address guardianNow, uint64 epochNow, bool installedNow, bool frozenNow) = module.accountState(account);
        (Status statusNow, uint96 settledNow,,) = module.grantState(account, id);
        assert(guardianNow == guardian && installedNow == installed && settledNow == settled);
        assert(frozenNow || !frozen);
        // A new epoch ends grants. It is the account's guardian that may begin one, and one only.
        assert(epochNow == epoch || (epochNow == epoch + 1 && caller == guardian));
        if (statusNow != status) {
            assert(statusNow == Status.Revoked || (statusNow == Status.Frozen && status == Status.Active));
            assert(caller == guardian || caller == terms.sessionKey);
        }
    }

    function callOf(uint8 action, address target, bytes32 id, Terms memory terms) internal view returns (bytes memory) {
        if (action == 0) return abi.encodeCall(module.onInstall, (""));
        if (action == 1) return abi.encodeCall(module.onInstall, (abi.encode(target)));
        if (action == 2) return abi.encodeCall(module.onUninstall, (""));
        if (action == 3) return abi.encodeCall(module.grant, (terms));
        if (action == 4) return abi.encodeCall(module.setGuardian, (target));
        if (action == 5) return abi.encodeCall(module.unfreeze, (id));
        if (action == 6) return abi.encodeCall(module.unfreezeAll, ());
        if (action == 7) return abi.encodeCall(module.freeze, (target, id));
        if (action == 8) return abi.encodeCall(module.freezeAll, (target));
        if (action == 9) return abi.encodeCall(module.revoke, (target, id));
        if (action == 10) return abi.encodeCall(module.revokeAll, (target));
        if (action == 11 || action == 12) {
            Stop[] memory stops = new Stop[](1);
            stops[0] = Stop(target, id, action == 12);
            return abi.encodeCall(module.stopMany, (stops));
        }
        return abi.encodeCall(module.giveUp, (target, pack(terms)));
    }

    function settles(address account, bytes memory packed, bytes memory claims) internal returns (bool success) {
        (success,) = address(module).call(abi.encodeCall(module.settle, (account, packed, claims)));
    }
}
