// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {OpenPaymaster} from "../mocks/OpenPaymaster.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

/// Attacks on who pays for the gas: a session key or settler must not spend what is the account's.
contract SponsorAttacksTest is EntryPointTest {
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public override {
        super.setUp();
        Terms memory granted = singleTerms();
        terms = pack(granted);
        grantId = module.grantIdOf(account, terms);
        assertTrue(handle(setUpOperation(granted, 50e6)).success);
        // The account has ether, also with the EntryPoint: what an attacker would like to burn.
        vm.deal(account, 1 ether);
        vm.deal(address(this), 1 ether);
        entryPoint.depositTo{value: 1 ether}(account);
    }

    function test_attack_withoutAPaymasterTheAccountsEtherIsNotSpent() public {
        Key[2] memory keys = [settler, sessionKey];
        uint256[3] memory prices = [uint256(0), 1 gwei, 1_000_000 gwei];
        for (uint256 i = 0; i < keys.length; i++) {
            for (uint256 j = 0; j < prices.length; j++) {
                PackedUserOperation memory op = unsponsored(prices[j]);
                op.signature = sign(keys[i], hashOf(op));
                expectRefused(op, prices[j] > 1 gwei ? "AA21 didn't pay prefund" : "AA24 signature error");
            }
        }
        assertEq(account.balance, 1 ether);
        assertEq(entryPoint.balanceOf(account), 1 ether);
    }

    function test_attack_paymasterOfZeroesIsNone() public {
        PackedUserOperation memory op = unsponsored(1 gwei);
        op.paymasterAndData = new bytes(52);
        op.signature = sign(settler, hashOf(op));
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        vm.expectRevert();
        vm.prank(bundler, bundler);
        entryPoint.handleOps(ops, payable(bundler));
        assertEq(entryPoint.balanceOf(account), 1 ether);
    }

    function test_attack_absurdGasPriceIsTheSponsorsToRefuse() public {
        bytes32 absurd = bytes32(abi.encodePacked(uint128(1_000_000 gwei), uint128(1_000_000 gwei)));
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        uint256 ours = paymasterDeposit();
        op.gasFees = absurd;
        op.signature = sign(settler, hashOf(op));
        expectRefused(op, "AA31 paymaster deposit too low");
        op.gasFees = bytes32(abi.encodePacked(uint128(2 gwei), uint128(2 gwei)));
        op.signature = sign(settler, hashOf(op));
        expectRefused(op, "AA34 signature error");
        assertEq(entryPoint.balanceOf(account), 1 ether);
        assertEq(paymasterDeposit(), ours);
    }

    function test_attack_foreignPaymasterPaysItselfHoweverHighTheGasPrice() public {
        OpenPaymaster foreign = paymasterOf(IERC20(address(0)), 0);
        PackedUserOperation memory op = sponsoredBy(foreign, 100 gwei);
        uint256 ours = paymasterDeposit();
        assertTrue(handle(op).success);
        assertEq(usdc.balanceOf(payee), 3e6);
        assertEq(account.balance, 1 ether);
        assertEq(entryPoint.balanceOf(account), 1 ether);
        assertEq(paymasterDeposit(), ours);
        assertLt(entryPoint.balanceOf(address(foreign)), 1 ether);
    }

    function test_attack_foreignPaymasterThatChargesTokensGetsNoneOfAnAccountThatAllowedItNone() public {
        OpenPaymaster foreign = paymasterOf(usdc, 20e6);
        // Its claim to the account's tokens fails, and with it the operation that it paid for.
        assertFalse(handle(sponsoredBy(foreign, 1 gwei)).success);
        assertEq(usdc.balanceOf(address(foreign)), 0);
        assertEq(usdc.balanceOf(account), FUNDS);
        assertEq(settledOf(grantId), 0);
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler)).success);
    }

    /// NOT PREVENTED: the module cannot tell one paymaster from another. Where an account has approved tokens to a
    /// paymaster that charges them, the session key and the settler can have it charge for their settlements.
    function test_limit_foreignPaymasterSpendsWhatTheAccountHadApprovedToIt() public {
        OpenPaymaster foreign = paymasterOf(usdc, 20e6);
        vm.prank(account);
        usdc.approve(address(foreign), 20e6);
        assertTrue(handle(sponsoredBy(foreign, 1 gwei)).success);
        assertEq(usdc.balanceOf(address(foreign)), 20e6);
        assertEq(usdc.balanceOf(account), FUNDS - 23e6);
        // The approval is the bound.
        PackedUserOperation memory op = sponsoredBy(foreign, 1 gwei);
        assertFalse(handle(op).success);
        assertEq(usdc.balanceOf(account), FUNDS - 23e6);
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function unsponsored(uint256 price) internal view returns (PackedUserOperation memory op) {
        bytes memory claims = pack(claimOf(grantId, 3e6));
        op = operation(settleOperation(account, terms, claims), nonceOf(address(module), 0));
        op.paymasterAndData = "";
        op.gasFees = bytes32(abi.encodePacked(uint128(price), uint128(price)));
    }

    function sponsoredBy(OpenPaymaster foreign, uint256 price) internal view returns (PackedUserOperation memory op) {
        op = unsponsored(price);
        op.paymasterAndData = abi.encodePacked(foreign, uint128(100_000), uint128(100_000));
        op.signature = sign(sessionKey, hashOf(op));
    }

    function paymasterOf(IERC20 token, uint256 price) internal returns (OpenPaymaster foreign) {
        foreign = new OpenPaymaster(token, price);
        vm.deal(address(this), 1 ether);
        entryPoint.depositTo{value: 1 ether}(address(foreign));
    }

    function paymasterDeposit() internal view returns (uint256) {
        return entryPoint.balanceOf(paymaster);
    }
}
