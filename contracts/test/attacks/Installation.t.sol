// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC7579ModuleConfig} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Accounts that come and go, with old vouchers about, and accounts that do not tell the module.
contract InstallationAttacksTest is StreamTest {
    function test_attack_oldVouchersAreDeadAfterEveryReinstall() public {
        bytes[] memory old = new bytes[](4);
        bytes memory packed;
        for (uint256 i = 0; i < old.length; i++) {
            bytes32 id;
            (id, packed) = grant(singleTerms());
            old[i] = pack(claimOf(id, 50e6));
            // Of all the vouchers there are for these terms, the newest epoch's alone is one.
            for (uint256 j = 0; j < i; j++) {
                expectSkipped(id, payee, ISessionKeyValidator.InvalidSignature.selector);
                assertEq(module.settle(account, packed, old[j]), 0);
            }
            assertEq(module.settle(account, packed, pack(claimOf(id, 1e6))), 1e6);
            if (i % 2 == 0) {
                uninstall(account);
                install(account);
            } else {
                vm.prank(guardian);
                module.revokeAll(account);
            }
        }
        assertEq(usdc.balanceOf(payee), 4e6);
    }

    function test_attack_uninstallEndsManyGrantsAtOnce() public {
        bytes[] memory packed = new bytes[](50);
        bytes[] memory claims = new bytes[](50);
        for (uint256 i = 0; i < packed.length; i++) {
            Terms memory terms = i % 2 == 0 ? singleTerms() : multiTerms();
            terms.salt = bytes24(uint192(i));
            bytes32 id;
            (id, packed[i]) = grant(terms);
            claims[i] = i % 2 == 0 ? pack(claimOf(id, 1e6)) : pack(claimOf(id, payee, 1e6));
        }
        uninstall(account);
        for (uint256 i = 0; i < packed.length; i++) {
            bytes32 id = module.grantIdOf(account, packed[i]);
            vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, id, Status.None));
            module.settle(account, packed[i], claims[i]);
        }
        assertEq(usdc.balanceOf(payee), 0);
    }

    function test_attack_installTwiceIsRefusedAndChangesNothing() public {
        vm.startPrank(account);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.AlreadyInstalled.selector, account));
        module.onInstall(abi.encode(stranger));
        (address guardian_, uint64 epoch,,) = module.accountState(account);
        assertEq(guardian_, guardian);
        assertEq(epoch, 0);
        vm.stopPrank();
    }

    function testFuzz_attack_uninstallNeverRevertsInWhateverState(bytes memory data, uint8 state) public {
        (bytes32 id,) = grant(singleTerms());
        vm.startPrank(account);
        if (state & 1 != 0) module.freeze(account, id);
        if (state & 2 != 0) module.freezeAll(account);
        if (state & 4 != 0) module.revokeAll(account);
        if (state & 8 != 0) module.setGuardian(address(0));
        if (state & 16 != 0) module.onUninstall("");
        module.onUninstall(data);
        module.onUninstall(data);
        vm.stopPrank();
        assertFalse(module.isInitialized(account));
        (,,, bool frozen) = module.accountState(account);
        assertFalse(frozen);
    }

    // ------------------------------------------------------------------------- accounts that do not tell the module

    /// An account that puts the module on its list without onInstall has no grants, so nothing validates and nothing pays.
    function test_attack_accountThatSkipsOnInstallGrantsNothing() public {
        LaxAccount lax = laxAccount(false);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, lax));
        vm.prank(address(lax));
        module.grant(singleTerms());
        account = address(lax);
        assertEq(lax.validate(module, operationOf(pack(singleTerms()), 1e6)), 1);
    }

    /// An account that takes the module off its list without onUninstall has told nobody: its grants live on, within the
    /// allowance it left. It can make up for it whenever it likes.
    function test_attack_accountThatSkipsOnUninstallKeepsItsGrantsUntilItSaysSo() public {
        account = address(laxAccount(true));
        (bytes32 id, bytes memory packed) = grant(singleTerms());
        LaxAccount(account).uninstallModule(1, address(module), "");
        assertEq(module.settle(account, packed, pack(claimOf(id, 1e6))), 1e6);
        // It is off the account's list all the same: no operation gets as far as the module.
        PackedUserOperation memory op = operationOf(packed, 2e6);
        vm.expectRevert("not a validator");
        LaxAccount(account).validate(module, op);

        // Installing again fails, rather than bringing the old grants back with a new guardian.
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.AlreadyInstalled.selector, account));
        LaxAccount(account).installModule(1, address(module), abi.encode(stranger));
        bytes memory claims = pack(claimOf(id, 2e6));
        uninstall(account);
        vm.expectRevert();
        module.settle(account, packed, claims);
        LaxAccount(account).installModule(1, address(module), abi.encode(guardian));
        (bytes32 newId,) = grant(singleTerms());
        expectSkipped(newId, payee, ISessionKeyValidator.InvalidSignature.selector);
        assertEq(module.settle(account, packed, claims), 0);
        assertEq(usdc.balanceOf(payee), 1e6);
    }

    /// An account that calls onUninstall with too little gas, and ignores that it failed, has skipped it.
    function test_attack_uninstallWithTooLittleGasIsAllOrNothing() public {
        (bytes32 id, bytes memory packed) = grant(singleTerms());
        bytes memory claims = pack(claimOf(id, 1e6));
        for (uint256 gas = 1000; gas < 60_000; gas += 1000) {
            uint256 before = vm.snapshotState();
            vm.prank(account);
            (bool success,) = address(module).call{gas: gas}(abi.encodeCall(module.onUninstall, ("")));
            assertEq(module.isInitialized(account), !success);
            if (success) vm.expectRevert();
            module.settle(account, packed, claims);
            assertTrue(vm.revertToState(before));
        }
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function laxAccount(bool tellsOfInstall) internal returns (LaxAccount lax) {
        lax = new LaxAccount(tellsOfInstall);
        lax.installModule(1, address(module), abi.encode(guardian));
        usdc.mint(address(lax), FUNDS);
        vm.prank(address(lax));
        usdc.approve(address(module), 50e6);
    }

    function operationOf(bytes memory packed, uint96 amount) internal view returns (PackedUserOperation memory op) {
        op.sender = account;
        op.callData = settleOperation(account, packed, pack(claimOf(module.grantIdOf(account, packed), amount)));
        op.paymasterAndData = abi.encodePacked(stranger, new bytes(32));
        op.signature = sign(settler, keccak256("hash"));
    }
}

/// Keeps its list of validators without the callbacks that ERC-7579 asks for.
contract LaxAccount is IERC7579ModuleConfig {
    mapping(address module => bool) private _installed;
    bool private immutable _tellsOfInstall;

    constructor(bool tellsOfInstall) {
        _tellsOfInstall = tellsOfInstall;
    }

    function installModule(uint256, address module, bytes calldata data) external {
        _installed[module] = true;
        if (_tellsOfInstall) ISessionKeyValidator(module).onInstall(data);
    }

    function uninstallModule(uint256, address module, bytes calldata) external {
        _installed[module] = false;
    }

    function isModuleInstalled(uint256, address module, bytes calldata) external view returns (bool) {
        return _installed[module];
    }

    function validate(ISessionKeyValidator module, PackedUserOperation calldata op) external returns (uint256) {
        require(_installed[address(module)], "not a validator");
        return module.validateUserOp(op, keccak256("hash"));
    }
}
