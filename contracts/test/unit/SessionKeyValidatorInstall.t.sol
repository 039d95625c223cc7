// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Coming to an account, leaving it, and the guardian.
contract SessionKeyValidatorInstallTest is StreamTest {
    address internal fresh = makeAddr("fresh");

    function test_onInstall_withoutDataSetsNoGuardian() public {
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.Installed(fresh, 0);
        vm.prank(fresh);
        module.onInstall("");
        assertAccount(fresh, address(0), 0, true, false);
        assertTrue(module.isInitialized(fresh));
    }

    function test_onInstall_withDataSetsTheGuardian() public {
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.Installed(fresh, 0);
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GuardianSet(fresh, guardian);
        vm.prank(fresh);
        module.onInstall(abi.encode(guardian));
        assertAccount(fresh, guardian, 0, true, false);
    }

    function test_onInstall_revertsWhenInstalled() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.AlreadyInstalled.selector, account));
        vm.prank(account);
        module.onInstall("");
    }

    function test_onInstall_revertsOnDataOfAnotherLength() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedInstallData.selector, 20));
        vm.prank(fresh);
        module.onInstall(abi.encodePacked(guardian));
    }

    function test_onInstall_revertsOnAnAddressOfMoreThan20Bytes() public {
        vm.expectRevert();
        vm.prank(fresh);
        module.onInstall(abi.encode(type(uint256).max));
    }

    function test_onInstall_revertsWhenTheAccountWouldGuardItself() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.InvalidGuardian.selector, fresh));
        vm.prank(fresh);
        module.onInstall(abi.encode(fresh));
    }

    function test_onUninstall_movesToANewEpochAndForgetsEverything() public {
        (bytes32 id,) = grant(singleTerms());
        vm.prank(account);
        module.freezeAll(account);
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.Uninstalled(account, 1);
        uninstall(account);
        assertAccount(account, address(0), 1, false, false);
        assertFalse(module.isInitialized(account));
        assertNotEq(module.grantIdOf(account, pack(singleTerms())), id);
    }

    function testFuzz_onUninstall_neverRevertsWhateverTheData(bytes memory data) public {
        vm.prank(account);
        module.onUninstall(data);
        assertAccount(account, address(0), 1, false, false);
    }

    function test_onUninstall_doesNothingWhenNotInstalled() public {
        vm.recordLogs();
        vm.prank(fresh);
        module.onUninstall("");
        assertEq(vm.getRecordedLogs().length, 0);
        assertAccount(fresh, address(0), 0, false, false);
    }

    function test_onUninstall_costsTheSameWithManyGrants() public {
        uint256 before = vm.snapshotState();
        uint256 withoutGrants = uninstallGas();
        assertTrue(vm.revertToState(before));
        for (uint256 i = 0; i < 50; i++) {
            Terms memory terms = singleTerms();
            terms.salt = bytes24(uint192(i));
            grant(terms);
        }
        assertEq(uninstallGas(), withoutGrants);
    }

    function uninstallGas() internal returns (uint256) {
        vm.cool(address(module));
        uninstall(account);
        return vm.lastCallGas().gasTotalUsed;
    }

    function test_setGuardian_replacesAndRemovesTheGuardian() public {
        vm.expectEmit(address(module));
        emit ISessionKeyValidator.GuardianSet(account, stranger);
        vm.prank(account);
        module.setGuardian(stranger);
        (bytes32 id,) = grant(singleTerms());
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.Unauthorized.selector, guardian, account));
        vm.prank(guardian);
        module.freeze(account, id);
        vm.prank(stranger);
        module.freeze(account, id);
        assertStatus(id, Status.Frozen);
        vm.prank(account);
        module.setGuardian(address(0));
        assertAccount(account, address(0), 0, true, false);
    }

    function test_setGuardian_revertsForTheAccountItselfAndWithoutTheModule() public {
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.InvalidGuardian.selector, account));
        vm.prank(account);
        module.setGuardian(account);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, fresh));
        vm.prank(fresh);
        module.setGuardian(guardian);
    }

    function test_isModuleType_isAValidatorOnly() public view {
        for (uint256 moduleType = 0; moduleType < 10; moduleType++) {
            assertEq(module.isModuleType(moduleType), moduleType == 1);
        }
    }

    function assertAccount(address who, address guard, uint64 epoch, bool installed, bool frozen) internal view {
        (address guardian_, uint64 epoch_, bool installed_, bool frozen_) = module.accountState(who);
        assertEq(guardian_, guard, "guardian");
        assertEq(epoch_, epoch, "epoch");
        assertEq(installed_, installed, "installed");
        assertEq(frozen_, frozen, "frozen");
    }
}
