// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC7579ModuleConfig} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

/// From the owner's one signature to sponsored settlements, through the real EntryPoint.
contract SettlementTest is EntryPointTest {
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public override {
        super.setUp();
        Terms memory granted = singleTerms();
        terms = pack(granted);
        grantId = keccak256(abi.encode(block.chainid, module, account, uint64(0), keccak256(terms)));
        assertTrue(handle(setUpOperation(granted, 50e6)).success);
    }

    function test_setUp_deploysInstallsApprovesAndGrantsWithOneSignature() public view {
        assertGt(account.code.length, 0);
        assertTrue(IERC7579ModuleConfig(account).isModuleInstalled(1, address(module), ""));
        assertEq(usdc.allowance(account, address(module)), 50e6);
        assertStatus(grantId, Status.Active);
        (address guardian_,,,) = module.accountState(account);
        assertEq(guardian_, guardian);
        assertEq(account.balance + entryPoint.balanceOf(account), 0);
    }

    function test_settlement_bySettlerIsPaidForByThePaymaster() public {
        uint256 deposit = entryPoint.balanceOf(paymaster);
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        expectSettled(grantId, payee, 3e6, 3e6);
        assertTrue(handle(op).success);
        assertEq(usdc.balanceOf(payee), 3e6);
        assertLt(entryPoint.balanceOf(paymaster), deposit);
        assertEq(account.balance + entryPoint.balanceOf(account), 0);
    }

    function test_settlement_bySessionKey() public {
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 3e6)), 0, sessionKey)).success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_settlement_isDueFromTheFirstSecondOfTheGrant() public {
        Terms memory later = singleTerms();
        later.validAfter = START + 100;
        handle(ownerOperation(address(module), abi.encodeCall(ISessionKeyValidator.grant, (later))));
        bytes32 id = module.grantIdOf(account, pack(later));
        PackedUserOperation memory op = settlement(pack(later), pack(claimOf(id, 3e6)), 0, settler);
        vm.warp(START + 99);
        expectRefused(op, "AA22 expired or not due");
        vm.warp(START + 100);
        assertTrue(handle(op).success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_settlement_isRefusedAfterTheLastSecondOfTheGrant() public {
        vm.warp(START + 1 days);
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler)).success);
        vm.warp(START + 1 days + 1);
        expectRefused(settlement(terms, pack(claimOf(grantId, 4e6)), 0, settler), "AA22 expired or not due");
    }

    // ---------------------------------------------------------------------------------------------------- in flight

    function test_settlement_ofTheSameVoucherTwiceInOneBundlePaysOnce() public {
        bytes memory claims = pack(claimOf(grantId, 3e6));
        Outcome[] memory outcomes =
            handle(settlement(terms, claims, 0, settler), settlement(terms, claims, 1, sessionKey));
        assertTrue(outcomes[0].success && outcomes[1].success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_settlement_ofTwoVouchersInOneBundlePaysTheHigherOne() public {
        handle(
            settlement(terms, pack(claimOf(grantId, 5e6)), 0, settler),
            settlement(terms, pack(claimOf(grantId, 3e6)), 1, settler)
        );
        assertEq(usdc.balanceOf(payee), 5e6);
        assertEq(settledOf(grantId), 5e6);
    }

    function test_settlement_thatFailsInExecutionKeepsTheVoucherPayable() public {
        // Validated while the grant is live; the owner's operation before it in the bundle then freezes the grant.
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        PackedUserOperation memory freeze =
            ownerOperation(address(module), abi.encodeCall(ISessionKeyValidator.freeze, (account, grantId)));
        Outcome[] memory outcomes = handle(freeze, op);
        assertTrue(outcomes[0].success);
        assertFalse(outcomes[1].success);
        assertEq(usdc.balanceOf(payee), 0);

        handle(ownerOperation(address(module), abi.encodeCall(ISessionKeyValidator.unfreeze, (grantId))));
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_settlement_thatRunsOutOfGasKeepsTheVoucherPayable() public {
        bytes memory claims = pack(claimOf(grantId, 3e6));
        PackedUserOperation memory op = operation(settleOperation(account, terms, claims), nonceOf(address(module), 0));
        op.accountGasLimits = bytes32(abi.encodePacked(uint128(500_000), uint128(20_000)));
        assertFalse(handle(signed(op, settler)).success);
        assertEq(settledOf(grantId), 0);
        assertTrue(handle(settlement(terms, claims, 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_settlement_paysNothingWhenTheAllowanceIsUsedUp() public {
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 50e6)), 0, settler)).success);
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 51e6)), 0, settler);
        expectSkipped(grantId, payee, ISessionKeyValidator.TransferFailed.selector);
        assertTrue(handle(op).success);
        assertEq(usdc.balanceOf(payee), 50e6);
    }

    // ---------------------------------------------------------------------------------------------------- refused

    function test_settlement_isRefusedWhenTheGrantIsFrozenOrRevoked() public {
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        vm.prank(guardian);
        module.freeze(account, grantId);
        expectRefused(op, "AA24 signature error");
        vm.prank(guardian);
        module.revoke(account, grantId);
        expectRefused(op, "AA24 signature error");
    }

    function test_settlement_isRefusedWhenTheModuleIsUninstalled() public {
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        bytes memory uninstallCall =
            abi.encodeCall(IERC7579ModuleConfig.uninstallModule, (1, address(module), hex"c0ffee"));
        assertTrue(handle(ownerOperation(account, uninstallCall)).success);
        expectRefused(op, "AA24 signature error");
    }

    function test_settlement_isRefusedFromStrangers() public {
        expectRefused(settlement(terms, pack(claimOf(grantId, 3e6)), 0, makeKey("somebody")), "AA24 signature error");
    }

    function test_sessionKey_cannotActAsTheOwner() public {
        bytes memory theft = abi.encodeCall(usdc.transfer, (sessionKey.addr, 1));
        PackedUserOperation memory asOwner = operation(executionOf(address(usdc), 0, theft), nonceOf(address(0), 0));
        expectRefused(signed(asOwner, sessionKey), "AA24 signature error");
        PackedUserOperation memory asModule =
            operation(executionOf(address(usdc), 0, theft), nonceOf(address(module), 0));
        expectRefused(signed(asModule, sessionKey), "AA24 signature error");
        // Nor can the owner's key spend through the module's lane.
        PackedUserOperation memory asSettler =
            operation(settleOperation(account, terms, pack(claimOf(grantId, 3e6))), nonceOf(address(module), 0));
        expectRefused(signed(asSettler, owner), "AA24 signature error");
    }

    // ---------------------------------------------------------------------------------------------------- sponsoring

    function test_paymaster_refusesAnOperationItsSignerDidNotApprove() public {
        PackedUserOperation memory op =
            operation(settleOperation(account, terms, pack(claimOf(grantId, 3e6))), nonceOf(address(module), 0));
        uint48 end = START + 1 hours;
        expectRefused(signed(op, settler, end, START - 1, makeKey("somebody")), "AA34 signature error");
    }

    function test_paymaster_refusesOutsideItsWindow() public {
        PackedUserOperation memory op =
            operation(settleOperation(account, terms, pack(claimOf(grantId, 3e6))), nonceOf(address(module), 0));
        uint256 before = vm.snapshotState();
        expectRefused(signed(op, settler, START - 1, 0, sponsor), "AA32 paymaster expired or not due");
        assertTrue(vm.revertToState(before));
        op.paymasterAndData = abi.encodePacked(paymaster, uint128(50_000), uint128(0));
        expectRefused(signed(op, settler, START + 10, START, sponsor), "AA32 paymaster expired or not due");
    }

    function test_paymaster_refusesAnOperationThatChangedAfterItWasApproved() public {
        bytes32 approvedGas = bytes32(abi.encodePacked(uint128(500_000), uint128(500_001)));
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        op.accountGasLimits = approvedGas;
        op.signature = sign(settler, hashOf(op));
        expectRefused(op, "AA34 signature error");

        op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        op.callData = settleOperation(account, terms, pack(claimOf(grantId, 4e6)));
        op.signature = sign(settler, hashOf(op));
        expectRefused(op, "AA34 signature error");

        op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        op.paymasterAndData[63] ^= 0x01;
        op.signature = sign(settler, hashOf(op));
        expectRefused(op, "AA34 signature error");
    }

    function test_paymaster_refusesDataOfAnotherLength() public {
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler);
        op.paymasterAndData = bytes.concat(op.paymasterAndData, hex"00");
        op.signature = sign(settler, hashOf(op));
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        vm.expectRevert(
            abi.encodeWithSelector(
                IEntryPoint.FailedOpWithRevert.selector,
                0,
                "AA33 reverted",
                abi.encodeWithSignature("MalformedPaymasterAndData(uint256)", 129)
            )
        );
        vm.prank(bundler, bundler);
        entryPoint.handleOps(ops, payable(bundler));
    }
}
