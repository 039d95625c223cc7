// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Freezing, resuming, revoking, giving up: who may, and what repeats or comes too late.
contract SessionKeyValidatorStopTest is StreamTest {
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public override {
        super.setUp();
        (grantId, terms) = grant(singleTerms());
    }

    // ---------------------------------------------------------------------------------------------------- one grant

    function test_freeze_byAccountOrGuardian() public {
        address[2] memory callers = [account, guardian];
        for (uint256 i = 0; i < callers.length; i++) {
            vm.expectEmit(address(module));
            emit ISessionKeyValidator.GrantFrozen(account, grantId, callers[i]);
            vm.prank(callers[i]);
            module.freeze(account, grantId);
            assertStatus(grantId, Status.Frozen);
            vm.expectEmit(address(module));
            emit ISessionKeyValidator.GrantUnfrozen(account, grantId, account);
            vm.prank(account);
            module.unfreeze(grantId);
            assertStatus(grantId, Status.Active);
        }
    }

    function test_freeze_keepsWhatWasSettled() public {
        module.settle(account, terms, pack(claimOf(grantId, 3e6)));
        vm.prank(guardian);
        module.freeze(account, grantId);
        vm.prank(account);
        module.unfreeze(grantId);
        assertEq(settledOf(grantId), 3e6);
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 3e6))), 0);
    }

    function test_stopping_isRefusedToEverybodyElse() public {
        address[4] memory callers = [stranger, sessionKey.addr, settler.addr, payee];
        for (uint256 i = 0; i < callers.length; i++) {
            vm.startPrank(callers[i]);
            bytes memory refusal =
                abi.encodeWithSelector(ISessionKeyValidator.Unauthorized.selector, callers[i], account);
            vm.expectRevert(refusal);
            module.freeze(account, grantId);
            vm.expectRevert(refusal);
            module.freezeAll(account);
            vm.expectRevert(refusal);
            module.revoke(account, grantId);
            vm.expectRevert(refusal);
            module.revokeAll(account);
            vm.stopPrank();
        }
        assertStatus(grantId, Status.Active);
    }

    function test_unfreeze_isRefusedToTheGuardian() public {
        vm.prank(guardian);
        module.freeze(account, grantId);
        // It acts on the caller's own grants, and the guardian has none of this id.
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, grantId, Status.None));
        vm.prank(guardian);
        module.unfreeze(grantId);
        assertStatus(grantId, Status.Frozen);
    }

    function test_guardian_ofNobodyIsNobody() public {
        vm.prank(account);
        module.setGuardian(address(0));
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.Unauthorized.selector, address(1), account));
        vm.prank(address(1));
        module.freeze(account, grantId);
    }

    function test_freeze_andItsLikeChangeNothingTheSecondTime() public {
        vm.startPrank(account);
        module.freeze(account, grantId);
        module.freezeAll(account);
        vm.recordLogs();
        module.freeze(account, grantId);
        module.freezeAll(account);
        assertEq(vm.getRecordedLogs().length, 0);
        module.unfreeze(grantId);
        module.unfreezeAll();
        vm.recordLogs();
        module.unfreeze(grantId);
        module.unfreezeAll();
        assertEq(vm.getRecordedLogs().length, 0);
        module.revoke(account, grantId);
        vm.recordLogs();
        module.revoke(account, grantId);
        assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_revoke_byAccountOrGuardianWhetherActiveOrFrozen() public {
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GrantRevoked(account, grantId, account);
        vm.prank(account);
        module.revoke(account, grantId);
        assertStatus(grantId, Status.Revoked);

        Terms memory other = singleTerms();
        other.salt = bytes24("other");
        (bytes32 otherId,) = grant(other);
        vm.startPrank(guardian);
        module.freeze(account, otherId);
        module.revoke(account, otherId);
        vm.stopPrank();
        assertStatus(otherId, Status.Revoked);
    }

    function test_revoke_isForGood() public {
        vm.startPrank(account);
        module.revoke(account, grantId);
        bytes memory refusal =
            abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, grantId, Status.Revoked);
        vm.expectRevert(refusal);
        module.unfreeze(grantId);
        vm.expectRevert(refusal);
        module.freeze(account, grantId);
        vm.stopPrank();
        assertStatus(grantId, Status.Revoked);
    }

    function test_stopping_revertsForAnUnknownGrant() public {
        bytes32 unknown = keccak256("unknown");
        bytes memory refusal = abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, unknown, Status.None);
        vm.startPrank(account);
        vm.expectRevert(refusal);
        module.freeze(account, unknown);
        vm.expectRevert(refusal);
        module.unfreeze(unknown);
        vm.expectRevert(refusal);
        module.revoke(account, unknown);
        vm.stopPrank();
    }

    // ---------------------------------------------------------------------------------------------------- everything

    function test_freezeAll_byAccountOrGuardianResumedByTheAccountOnly() public {
        address[2] memory callers = [account, guardian];
        for (uint256 i = 0; i < callers.length; i++) {
            vm.expectEmit(address(module));
            emit ISessionKeyValidator.AccountFrozen(account, callers[i]);
            vm.prank(callers[i]);
            module.freezeAll(account);
            vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, guardian));
            vm.prank(guardian);
            module.unfreezeAll();
            vm.expectEmit(address(module));
            emit ISessionKeyValidator.AccountUnfrozen(account, account);
            vm.prank(account);
            module.unfreezeAll();
        }
    }

    function test_unfreezeAll_leavesASingleFreezeInPlace() public {
        vm.startPrank(account);
        module.freeze(account, grantId);
        module.freezeAll(account);
        module.unfreezeAll();
        vm.stopPrank();
        assertStatus(grantId, Status.Frozen);
    }

    function test_revokeAll_byAccountOrGuardianMovesToANewEpoch() public {
        address[2] memory callers = [account, guardian];
        for (uint64 i = 0; i < callers.length; i++) {
            vm.expectEmit(address(module));
            emit ISessionKeyValidator.AllRevoked(account, callers[i], i + 1);
            vm.prank(callers[i]);
            module.revokeAll(account);
        }
        (address guardian_, uint64 epoch, bool installed,) = module.accountState(account);
        assertEq(guardian_, guardian);
        assertEq(epoch, 2);
        assertTrue(installed);
        // The same terms are another grant now.
        (bytes32 id,) = grant(singleTerms());
        assertNotEq(id, grantId);
    }

    function test_revokeAll_doesNotResumeAFrozenAccount() public {
        vm.startPrank(guardian);
        module.freezeAll(account);
        module.revokeAll(account);
        vm.stopPrank();
        (,,, bool frozen) = module.accountState(account);
        assertTrue(frozen);
    }

    function test_stopping_revertsWithoutTheModule() public {
        uninstall(account);
        bytes memory refusal = abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, account);
        vm.startPrank(account);
        vm.expectRevert(refusal);
        module.freezeAll(account);
        vm.expectRevert(refusal);
        module.unfreezeAll();
        vm.expectRevert(refusal);
        module.revokeAll(account);
        vm.stopPrank();
    }

    function test_guardian_losesItsPowerWithTheModule() public {
        uninstall(account);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.Unauthorized.selector, guardian, account));
        vm.prank(guardian);
        module.revoke(account, grantId);
    }

    // ---------------------------------------------------------------------------------------------------- giving up

    function test_giveUp_byTheSessionKeyOnly() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.Unauthorized.selector, guardian, account));
        vm.prank(guardian);
        module.giveUp(account, terms);
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GrantRevoked(account, grantId, sessionKey.addr);
        vm.prank(sessionKey.addr);
        module.giveUp(account, terms);
        assertStatus(grantId, Status.Revoked);
    }

    function test_giveUp_revertsForTermsThatWereNotGranted() public {
        Terms memory own = singleTerms();
        own.sessionKey = stranger;
        bytes memory packed = pack(own);
        bytes32 id = module.grantIdOf(account, packed);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, id, Status.None));
        vm.prank(stranger);
        module.giveUp(account, packed);
    }

    function test_giveUp_revertsOnTermsOfAnotherLength() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, 20));
        vm.prank(sessionKey.addr);
        module.giveUp(account, abi.encodePacked(sessionKey.addr));
    }
}
