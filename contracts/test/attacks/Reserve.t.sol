// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {Execution, IERC7579Execution} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IPrepaidReserve} from "../../src/interfaces/IPrepaidReserve.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

/// Attacks on the reserve: by the account that wants its money back although vouchers are out, by strangers, and by one
/// grant at the cost of another.
contract ReserveAttacksTest is EntryPointTest {
    IPrepaidReserve internal reserve;
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public override {
        super.setUp();
        reserve = module.reserve();
        Terms memory prepaid = prepaidTerms("");
        terms = pack(prepaid);
        grantId = module.grantIdOf(account, terms);
        assertTrue(handle(setUpOperation(prepaid, 0)).success);
        fill(100e6);
    }

    // ---------------------------------------------------------------------------------------------------- withdrawing

    function test_attack_withdrawalWhileVouchersAreOutstandingPaysThePayeeFirst() public {
        bytes memory outstanding = pack(claimOf(grantId, 70e6));
        byOwner(abi.encodeCall(IPrepaidReserve.requestWithdrawal, (address(usdc), 100e6)));
        vm.warp(START + 1 days - 1);
        byOwnerFails(abi.encodeCall(IPrepaidReserve.withdraw, (address(usdc), owner.addr)));
        // The payee has all the day, by a sponsored operation or without any help.
        assertTrue(handle(settlement(terms, outstanding, 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 70e6);
        vm.warp(START + 1 days);
        byOwner(abi.encodeCall(IPrepaidReserve.withdraw, (address(usdc), owner.addr)));
        assertEq(usdc.balanceOf(owner.addr), 30e6);
        assertPool(0, 0, 0);
    }

    function test_attack_withdrawalAndSettlementInOneBundlePayEachBaseUnitOnce() public {
        byOwner(abi.encodeCall(IPrepaidReserve.requestWithdrawal, (address(usdc), 100e6)));
        vm.warp(START + 1 days);
        PackedUserOperation memory withdrawal =
            ownerOperation(address(reserve), abi.encodeCall(IPrepaidReserve.withdraw, (address(usdc), owner.addr)));
        PackedUserOperation memory settling = settlement(terms, pack(claimOf(grantId, 70e6)), 0, settler);
        uint256 before = vm.snapshotState();
        handle(settling, withdrawal);
        assertEq(usdc.balanceOf(payee), 70e6);
        assertEq(usdc.balanceOf(owner.addr), 30e6);
        assertTrue(vm.revertToState(before));
        // The other way round the payee came too late: it had the day before.
        expectSkipped(grantId, payee, ISessionKeyValidator.TransferFailed.selector);
        handle(withdrawal, settling);
        assertEq(usdc.balanceOf(payee), 0);
        assertEq(usdc.balanceOf(owner.addr), 100e6);
        assertEq(settledOf(grantId), 0);
    }

    function test_attack_requestThatIsReplacedOrCancelledSavesNoTime() public {
        byOwner(abi.encodeCall(IPrepaidReserve.requestWithdrawal, (address(usdc), 1)));
        vm.warp(START + 1 days);
        // A small request that has ripened does not ripen a bigger one.
        byOwner(abi.encodeCall(IPrepaidReserve.requestWithdrawal, (address(usdc), 100e6)));
        byOwnerFails(abi.encodeCall(IPrepaidReserve.withdraw, (address(usdc), owner.addr)));
        byOwner(abi.encodeCall(IPrepaidReserve.cancelWithdrawal, (address(usdc))));
        byOwner(abi.encodeCall(IPrepaidReserve.requestWithdrawal, (address(usdc), 100e6)));
        vm.warp(START + 2 days - 1);
        byOwnerFails(abi.encodeCall(IPrepaidReserve.withdraw, (address(usdc), owner.addr)));
        assertPool(100e6, 100e6, START + 2 days);
        // A ripe request that is left alone stays what it was: it never grows with the pool, and everybody sees it.
        byOwner(abi.encodeCall(IPrepaidReserve.requestWithdrawal, (address(usdc), 10e6)));
        vm.warp(START + 30 days);
        fill(400e6);
        (uint96 balance, uint96 withdrawing,) = reserve.poolOf(account, address(usdc));
        assertEq(balance - withdrawing, 490e6);
        byOwner(abi.encodeCall(IPrepaidReserve.withdraw, (address(usdc), owner.addr)));
        assertEq(usdc.balanceOf(owner.addr), 10e6);
    }

    function test_attack_othersCannotWithdrawDrawOrDepositInTheAccountsName() public {
        byOwner(abi.encodeCall(IPrepaidReserve.requestWithdrawal, (address(usdc), 50e6)));
        vm.warp(START + 1 days);
        address[6] memory others = [guardian, sessionKey.addr, settler.addr, payee, owner.addr, address(entryPoint)];
        for (uint256 i = 0; i < others.length; i++) {
            vm.startPrank(others[i]);
            vm.expectRevert(IPrepaidReserve.NoWithdrawal.selector);
            reserve.withdraw(address(usdc), others[i]);
            vm.expectRevert(IPrepaidReserve.NoWithdrawal.selector);
            reserve.cancelWithdrawal(address(usdc));
            vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.InsufficientBalance.selector, 0, 1));
            reserve.requestWithdrawal(address(usdc), 1);
            vm.expectRevert(abi.encodeWithSelector(IPrepaidReserve.OnlyModule.selector, others[i]));
            reserve.draw(account, address(usdc), others[i], 1);
            vm.stopPrank();
        }
        assertPool(100e6, 50e6, START + 1 days);
        // Nor by an operation: a session key's is a settlement or nothing.
        bytes memory withdrawal = abi.encodeCall(IPrepaidReserve.withdraw, (address(usdc), sessionKey.addr));
        bytes memory callData = executionOf(address(reserve), 0, withdrawal);
        expectRefused(signed(operation(callData, nonceOf(address(module), 0)), sessionKey), "AA24 signature error");
        expectRefused(signed(operation(callData, nonceOf(address(0), 0)), sessionKey), "AA24 signature error");
    }

    // ---------------------------------------------------------------------------------------------------- sharing

    function test_attack_twoGrantsOfOnePoolNeverPayMoreThanIsInIt() public {
        (bytes32 otherId, bytes memory other) = grant(prepaidTerms("other"));
        PackedUserOperation memory first = settlement(terms, pack(claimOf(grantId, 70e6)), 0, settler);
        PackedUserOperation memory second = settlement(other, pack(claimOf(otherId, 70e6)), 1, settler);
        expectSkipped(otherId, payee, ISessionKeyValidator.TransferFailed.selector);
        handle(first, second);
        assertEq(usdc.balanceOf(payee), 70e6);
        assertPool(30e6, 0, 0);
        // The voucher that did not fit is payable in part at once, and in full after the next deposit.
        bytes32[] memory none = new bytes32[](0);
        handle(settlement(other, pack(claimOf(otherId, payee, 30e6, 70e6, none)), 1, settler));
        assertPool(0, 0, 0);
        fill(40e6);
        handle(settlement(other, pack(claimOf(otherId, 70e6)), 1, settler));
        assertEq(usdc.balanceOf(payee), 140e6);
        assertPool(0, 0, 0);
    }

    function test_attack_poolsOfOthersAreNotTouched() public {
        address rich = makeAddr("rich");
        install(rich);
        usdc.mint(rich, 500e6);
        vm.startPrank(rich);
        usdc.approve(address(reserve), 500e6);
        reserve.deposit(rich, address(usdc), 500e6);
        vm.stopPrank();
        (bytes32 otherId, bytes memory other) = grant(prepaidTerms("other"));
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 100e6))), 100e6);
        expectSkipped(otherId, payee, ISessionKeyValidator.TransferFailed.selector);
        assertEq(module.settle(account, other, pack(claimOf(otherId, 1))), 0);
        (uint96 balance,,) = reserve.poolOf(rich, address(usdc));
        assertEq(balance, 500e6);
        // The account's terms are nobody else's.
        bytes32 id = module.grantIdOf(rich, terms);
        bytes memory claims = pack(claimOf(grantId, 100e6));
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, id, Status.None));
        module.settle(rich, terms, claims);
    }

    function test_attack_grantTakesFromItsOwnSourceOnly() public {
        Terms memory fromAllowance = singleTerms();
        (bytes32 creditId, bytes memory credit) = grant(fromAllowance);
        // No allowance, a full pool: credit pays nothing.
        expectSkipped(creditId, payee, ISessionKeyValidator.TransferFailed.selector);
        assertEq(module.settle(account, credit, pack(claimOf(creditId, 1e6))), 0);
        vm.prank(account);
        usdc.approve(address(module), 50e6);
        // An allowance and a full pool: each pays its own.
        assertEq(module.settle(account, credit, pack(claimOf(creditId, 50e6))), 50e6);
        assertPool(100e6, 0, 0);
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 100e6))), 100e6);
        assertPool(0, 0, 0);
        // An allowance and an empty pool: the reserve's grant pays nothing.
        vm.startPrank(account);
        usdc.approve(address(module), 50e6);
        usdc.approve(address(reserve), 50e6);
        vm.stopPrank();
        (bytes32 otherId, bytes memory other) = grant(prepaidTerms("other"));
        expectSkipped(otherId, payee, ISessionKeyValidator.TransferFailed.selector);
        assertEq(module.settle(account, other, pack(claimOf(otherId, 1e6))), 0);
    }

    function test_attack_frozenGrantPaysNothingFromTheReserve() public {
        bytes memory claims = pack(claimOf(grantId, 70e6));
        vm.prank(guardian);
        module.freeze(account, grantId);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, grantId, Status.Frozen));
        module.settle(account, terms, claims);
        assertPool(100e6, 0, 0);
    }

    // -------------------------------------------------------------------------------- what a reserve does not promise

    /// NOT PREVENTED: a pool is for whatever grants the account makes, so an owner who also holds a session key and a payee
    /// takes it out at once, past the delay of a withdrawal. A merchant's vouchers are safe only once they are settled.
    function test_limit_ownerWhoGrantsToThemselvesSkipsTheDelay() public {
        bytes memory outstanding = pack(claimOf(grantId, 70e6));
        Key memory merchantsAgent = sessionKey;
        sessionKey = makeKey("the owner's other key");
        Terms memory own = prepaidTerms("own");
        own.payeeRoot = leaf(owner.addr);
        bytes memory packed = pack(own);
        bytes32 id = module.grantIdOf(account, packed);
        bytes memory claims = pack(claimOf(id, owner.addr, 100e6, 100e6, new bytes32[](0)));
        Execution[] memory calls = new Execution[](2);
        calls[0] = Execution(address(module), 0, abi.encodeCall(ISessionKeyValidator.grant, (own)));
        calls[1] = Execution(address(module), 0, abi.encodeCall(ISessionKeyValidator.settle, (account, packed, claims)));
        bytes memory callData = abi.encodeCall(IERC7579Execution.execute, (bytes32(hex"01"), abi.encode(calls)));
        assertTrue(handle(signed(operation(callData, nonceOf(address(0), 0)), owner)).success);
        assertEq(usdc.balanceOf(owner.addr), 100e6);
        assertPool(0, 0, 0);
        sessionKey = merchantsAgent;
        expectSkipped(grantId, payee, ISessionKeyValidator.TransferFailed.selector);
        assertEq(module.settle(account, terms, outstanding), 0);
    }

    /// NOT PREVENTED: a grant that is revoked pays nothing, from a reserve as from an allowance, because a stolen session key
    /// has to be stopped at once. So an owner can end a grant whose vouchers are out, and then wait for the money.
    function test_limit_ownerWhoRevokesKeepsTheReserve() public {
        bytes memory outstanding = pack(claimOf(grantId, 70e6));
        vm.startPrank(account);
        module.revoke(account, grantId);
        reserve.requestWithdrawal(address(usdc), 100e6);
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, grantId, Status.Revoked));
        module.settle(account, terms, outstanding);
        vm.warp(START + 1 days);
        assertEq(reserve.withdraw(address(usdc), owner.addr), 100e6);
        vm.stopPrank();
    }

    /// NOT PREVENTED: tokens that are sent to the reserve's own address, by a transfer or a careless withdrawal, are in nobody's
    /// pool for good.
    function test_limit_tokensSentToTheReserveItselfAreNobodys() public {
        vm.startPrank(account);
        reserve.requestWithdrawal(address(usdc), 40e6);
        vm.warp(START + 1 days);
        reserve.withdraw(address(usdc), address(reserve));
        usdc.transfer(address(reserve), 5e6);
        vm.stopPrank();
        assertPool(60e6, 0, 0);
        assertEq(usdc.balanceOf(address(reserve)), 105e6);
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function prepaidTerms(bytes24 salt) internal view returns (Terms memory prepaid) {
        prepaid = singleTerms();
        (prepaid.source, prepaid.salt, prepaid.validUntil) = (1, salt, START + 60 days);
    }

    /// By somebody else.
    function fill(uint256 amount) internal {
        usdc.mint(stranger, amount);
        vm.startPrank(stranger);
        usdc.approve(address(reserve), amount);
        reserve.deposit(account, address(usdc), amount);
        vm.stopPrank();
    }

    function byOwner(bytes memory data) internal {
        assertTrue(handle(ownerOperation(address(reserve), data)).success);
    }

    function byOwnerFails(bytes memory data) internal {
        assertFalse(handle(ownerOperation(address(reserve), data)).success);
    }

    function assertPool(uint96 balance, uint96 withdrawing, uint64 withdrawableAt) internal view {
        (uint96 balance_, uint96 withdrawing_, uint64 withdrawableAt_) = reserve.poolOf(account, address(usdc));
        assertEq(balance_, balance, "balance");
        assertEq(withdrawing_, withdrawing, "withdrawing");
        assertEq(withdrawableAt_, withdrawableAt, "withdrawableAt");
    }
}
