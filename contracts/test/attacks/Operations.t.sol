// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {
    Execution,
    IERC7579Execution,
    IERC7579ModuleConfig
} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {CallbackToken} from "../mocks/CallbackToken.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";
import {EntryPointV07Test} from "../utils/EntryPointV07Test.sol";

/// Attacks that use the time between validation and execution, or the middle of an execution. The same on each EntryPoint.
abstract contract OperationAttacks is EntryPointTest {
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public virtual override {
        super.setUp();
        Terms memory granted = multiTerms();
        terms = pack(granted);
        grantId = module.grantIdOf(account, terms);
        assertTrue(handle(setUpOperation(granted, 500e6)).success);
    }

    // ---------------------------------------------------------------------------------------------------- two in flight

    function test_attack_twoOperationsValidatedTogetherStayWithinTheTotalLimit() public {
        PackedUserOperation memory first = settlement(terms, pack(claimOf(grantId, payee, 60e6)), 0, settler);
        PackedUserOperation memory second = settlement(terms, pack(claimOf(grantId, otherPayee, 60e6)), 1, sessionKey);
        expectSkipped(grantId, otherPayee, ISessionKeyValidator.TotalLimitExceeded.selector);
        Outcome[] memory outcomes = handle(first, second);
        assertTrue(outcomes[0].success && outcomes[1].success);
        assertEq(usdc.balanceOf(payee), 60e6);
        assertEq(usdc.balanceOf(otherPayee), 0);
        // What did not fit then is paid as far as it fits.
        bytes memory rest = pack(claimOf(grantId, otherPayee, 40e6, 60e6, proofOf(otherPayee)));
        assertTrue(handle(settlement(terms, rest, 1, settler)).success);
        assertEq(usdc.balanceOf(otherPayee), 40e6);
    }

    function test_attack_twoOperationsValidatedTogetherStayWithinThePeriodLimit() public {
        Terms memory periodic = multiTerms();
        (periodic.periodLimit, periodic.period) = (10e6, 1 hours);
        (bytes32 id, bytes memory packed) = grant(periodic);
        PackedUserOperation memory first = settlement(packed, pack(claimOf(id, payee, 6e6)), 0, settler);
        PackedUserOperation memory second = settlement(packed, pack(claimOf(id, otherPayee, 6e6)), 1, settler);
        expectSkipped(id, otherPayee, ISessionKeyValidator.PeriodLimitExceeded.selector);
        handle(first, second);
        assertEq(usdc.balanceOf(otherPayee), 0);
        vm.warp(START + 1 hours - 1);
        expectSkipped(id, otherPayee, ISessionKeyValidator.PeriodLimitExceeded.selector);
        handle(settlement(packed, pack(claimOf(id, otherPayee, 6e6)), 1, settler));
        vm.warp(START + 1 hours);
        handle(settlement(packed, pack(claimOf(id, otherPayee, 6e6)), 1, settler));
        assertEq(usdc.balanceOf(otherPayee), 6e6);
    }

    function test_attack_sameVoucherInTwoOperationsOfOneBundlePaysOnce() public {
        bytes memory claims = pack(claimOf(grantId, payee, 3e6));
        handle(settlement(terms, claims, 0, settler), settlement(terms, claims, 1, sessionKey));
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    // ---------------------------------------------------------------------------------------------------- stopped between

    function test_attack_stopBetweenValidationAndExecutionPaysNothingAndUsesNothingUp() public {
        bytes[6] memory stops = [
            abi.encodeCall(ISessionKeyValidator.freeze, (account, grantId)),
            abi.encodeCall(ISessionKeyValidator.freezeAll, (account)),
            abi.encodeCall(ISessionKeyValidator.revoke, (account, grantId)),
            abi.encodeCall(ISessionKeyValidator.revokeAll, (account)),
            abi.encodeCall(IERC7579ModuleConfig.uninstallModule, (1, address(module), "")),
            abi.encodeCall(IERC20.approve, (address(module), 0))
        ];
        for (uint256 i = 0; i < stops.length; i++) {
            uint256 before = vm.snapshotState();
            PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, payee, 3e6)), 0, settler);
            address target = i == 4 ? account : i == 5 ? address(usdc) : address(module);
            Outcome[] memory outcomes = handle(ownerOperation(target, stops[i]), op);
            assertTrue(outcomes[0].success, "the stop");
            // Without an allowance the claim is skipped; everything else ends the settlement.
            assertEq(outcomes[1].success, i == 5, "the settlement");
            assertEq(usdc.balanceOf(payee), 0);
            assertEq(settledOf(grantId), 0);
            if (i < 2) {
                bytes memory resume = i == 0
                    ? abi.encodeCall(ISessionKeyValidator.unfreeze, (grantId))
                    : abi.encodeCall(ISessionKeyValidator.unfreezeAll, ());
                handle(ownerOperation(address(module), resume));
                handle(settlement(terms, pack(claimOf(grantId, payee, 3e6)), 0, settler));
                assertEq(usdc.balanceOf(payee), 3e6);
            }
            assertTrue(vm.revertToState(before));
        }
    }

    function test_attack_guardiansFreezeBeforeInclusionRefusesTheOperation() public {
        PackedUserOperation memory op = settlement(terms, pack(claimOf(grantId, payee, 3e6)), 0, settler);
        vm.prank(guardian);
        module.freezeAll(account);
        expectRefused(op, "AA24 signature error");
        vm.prank(account);
        module.unfreezeAll();
        assertTrue(handle(op).success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_attack_grantReplacedInTheSameBundleCarriesNothingOver() public {
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, payee, 70e6)), 0, settler)).success);
        PackedUserOperation memory old = settlement(terms, pack(claimOf(grantId, payee, 90e6)), 0, settler);
        Terms memory again = multiTerms();
        again.salt = bytes24("again");
        Execution[] memory calls = new Execution[](2);
        calls[0] = Execution(address(module), 0, abi.encodeCall(ISessionKeyValidator.revoke, (account, grantId)));
        calls[1] = Execution(address(module), 0, abi.encodeCall(ISessionKeyValidator.grant, (again)));
        PackedUserOperation memory replace = ownerBatch(calls);
        Outcome[] memory outcomes = handle(replace, old);
        assertTrue(outcomes[0].success);
        assertFalse(outcomes[1].success);
        assertEq(usdc.balanceOf(payee), 70e6);

        // The old voucher says nothing about the new grant, which begins at zero and has all of its own limit.
        bytes32 newId = module.grantIdOf(account, pack(again));
        Claim memory claim = claimOf(grantId, payee, 90e6);
        expectSkipped(newId, payee, ISessionKeyValidator.InvalidSignature.selector);
        handle(settlement(pack(again), pack(claim), 0, settler));
        assertEq(settledOf(newId), 0);
        handle(settlement(pack(again), pack(claimOf(newId, payee, 100e6)), 0, settler));
        assertEq(usdc.balanceOf(payee), 170e6);
        assertEq(settledOf(grantId), 70e6);
        assertStatus(grantId, Status.Revoked);
    }

    /// Both grants are live until the owner ends one: together they pay what both allow, never more.
    function test_attack_secondGrantOfTheSameTermsPaysOnItsOwnLimitOnly() public {
        Terms memory again = multiTerms();
        again.salt = bytes24("again");
        (bytes32 newId, bytes memory packed) = grant(again);
        handle(
            settlement(terms, pack(claimOf(grantId, payee, 100e6)), 0, settler),
            settlement(packed, pack(claimOf(newId, payee, 100e6)), 1, settler)
        );
        assertEq(usdc.balanceOf(payee), 200e6);
        handle(
            settlement(terms, pack(claimOf(grantId, otherPayee, 1)), 0, settler),
            settlement(packed, pack(claimOf(newId, otherPayee, 1)), 1, settler)
        );
        assertEq(usdc.balanceOf(otherPayee), 0);
    }

    // ---------------------------------------------------------------------------------------------------- failed execution

    function test_attack_executionThatFailsUsesNoVoucherUp() public {
        bytes memory claims = pack(claimOf(grantId, payee, 3e6));
        PackedUserOperation memory op = operation(settleOperation(account, terms, claims), nonceOf(address(module), 0));
        op.accountGasLimits = bytes32(abi.encodePacked(uint128(500_000), uint128(20_000)));
        assertFalse(handle(signed(op, settler)).success);
        usdc.setBlocked(payee, true);
        expectSkipped(grantId, payee, ISessionKeyValidator.TransferFailed.selector);
        assertTrue(handle(settlement(terms, claims, 0, settler)).success);
        assertEq(settledOf(grantId), 0);
        usdc.setBlocked(payee, false);
        assertTrue(handle(settlement(terms, claims, 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    // ---------------------------------------------------------------------------------------------------- in the middle

    /// Anybody may settle while the account executes something else: it pays what it always would have, once.
    function test_attack_settleInTheMiddleOfAnExecutionPaysWhatWasDueOnce() public {
        Interloper interloper = new Interloper(module);
        bytes memory claims = pack(claimOf(grantId, payee, 3e6));
        Execution[] memory calls = new Execution[](4);
        calls[0] = Execution(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 5e6)));
        calls[1] = Execution(address(interloper), 0, abi.encodeCall(Interloper.settle, (account, terms, claims)));
        calls[2] = Execution(address(usdc), 0, abi.encodeCall(IERC20.approve, (address(module), 1e6)));
        calls[3] = Execution(address(interloper), 0, abi.encodeCall(Interloper.settle, (account, terms, claims)));
        PackedUserOperation memory op = ownerBatch(calls);
        Outcome[] memory outcomes = handle(op, settlement(terms, claims, 0, settler));
        assertTrue(outcomes[0].success && outcomes[1].success);
        assertEq(interloper.paid(0), 3e6);
        assertEq(interloper.paid(1), 0);
        assertEq(usdc.balanceOf(payee), 3e6);
        assertEq(usdc.balanceOf(account), FUNDS - 8e6);
        // The new allowance is what counts from now on.
        expectSkipped(grantId, payee, ISessionKeyValidator.TransferFailed.selector);
        module.settle(account, terms, pack(claimOf(grantId, payee, 4e6 + 1)));
        module.settle(account, terms, pack(claimOf(grantId, payee, 4e6)));
        assertEq(usdc.balanceOf(payee), 4e6);
    }

    function test_attack_tokenThatSettlesAgainInTheMiddleOfASettlementPaysOnce() public {
        CallbackToken token = new CallbackToken();
        token.mint(account, 10e6);
        Terms memory callback = multiTerms();
        callback.token = address(token);
        (bytes32 id, bytes memory packed) = grant(callback);
        vm.prank(account);
        token.approve(address(module), 10e6);
        bytes memory claims = bytes.concat(pack(claimOf(id, payee, 3e6)), pack(claimOf(id, otherPayee, 4e6)));
        token.callNext(address(module), abi.encodeCall(ISessionKeyValidator.settle, (account, packed, claims)));
        assertTrue(handle(settlement(packed, claims, 0, settler)).success);
        assertEq(token.balanceOf(payee), 3e6);
        assertEq(token.balanceOf(otherPayee), 4e6);
        assertEq(settledOf(id), 7e6);
    }

    /// A token cannot use the settlement to make the account do anything else: neither the EntryPoint nor the account is
    /// open to it.
    function test_attack_tokenThatCallsTheAccountOrTheEntryPointBackGetsNothing() public {
        CallbackToken token = new CallbackToken();
        token.mint(account, 10e6);
        Terms memory callback = singleTerms();
        callback.token = address(token);
        (bytes32 id, bytes memory packed) = grant(callback);
        vm.prank(account);
        token.approve(address(module), 10e6);
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = settlement(terms, pack(claimOf(grantId, payee, 3e6)), 5, settler);
        bytes memory theft = executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (address(token), 1e6)));
        bytes[2] memory callbacks = [theft, abi.encodeCall(IEntryPoint.handleOps, (ops, payable(bundler)))];
        address[2] memory targets = [account, address(entryPoint)];
        for (uint32 i = 0; i < callbacks.length; i++) {
            token.callNext(targets[i], callbacks[i]);
            expectSkipped(id, payee, ISessionKeyValidator.TransferFailed.selector);
            assertTrue(handle(settlement(packed, pack(claimOf(id, 3e6)), i, settler)).success);
            assertEq(settledOf(id), 0);
        }
        assertEq(usdc.balanceOf(account), FUNDS);
    }

    // ---------------------------------------------------------------------------------------------------- time

    function test_attack_validUntilHoldsToTheSecond() public {
        vm.warp(START + 1 days);
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, payee, 3e6)), 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 3e6);
        vm.warp(START + 1 days + 1);
        expectRefused(settlement(terms, pack(claimOf(grantId, payee, 4e6)), 0, settler), "AA22 expired or not due");
    }

    /// From 2^47 on, ERC-4337 reads block numbers out of times. No grant reaches that far, and the longest is not one.
    function test_attack_longestValidityIsATimeAndNotABlockNumber() public {
        Terms memory longest = singleTerms();
        longest.validUntil = 2 ** 47;
        vm.expectRevert(
            abi.encodeWithSelector(
                ISessionKeyValidator.InvalidValidity.selector, longest.validAfter, longest.validUntil
            )
        );
        vm.prank(account);
        module.grant(longest);
        longest.validUntil = 2 ** 47 - 1;
        (bytes32 id, bytes memory packed) = grant(longest);
        vm.roll(2 ** 47);
        assertTrue(handle(settlement(packed, pack(claimOf(id, 3e6)), 0, settler)).success);
        vm.warp(2 ** 47 - 1);
        assertTrue(handle(sponsoredForever(settleOperation(account, packed, pack(claimOf(id, 4e6))))).success);
        assertEq(usdc.balanceOf(payee), 4e6);
        vm.warp(2 ** 47);
        vm.roll(1);
        PackedUserOperation memory late = sponsoredForever(settleOperation(account, packed, pack(claimOf(id, 5e6))));
        expectRefused(late, "AA22 expired or not due");
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function ownerBatch(Execution[] memory calls) internal view returns (PackedUserOperation memory) {
        bytes memory callData = abi.encodeCall(IERC7579Execution.execute, (bytes32(hex"01"), abi.encode(calls)));
        return signed(operation(callData, nonceOf(address(0), 0)), owner);
    }

    function sponsoredForever(bytes memory callData) internal view returns (PackedUserOperation memory) {
        return signed(operation(callData, nonceOf(address(module), 0)), settler, 0, 0, sponsor);
    }

    /// A grant that begins at `validAfter`, and an operation that settles under it, approved early enough.
    function early(uint48 validAfter) internal returns (bytes32 id, PackedUserOperation memory op) {
        Terms memory later = singleTerms();
        later.validAfter = validAfter;
        bytes memory packed;
        (id, packed) = grant(later);
        op = settlement(packed, pack(claimOf(id, 3e6)), 0, settler);
    }
}

contract OperationAttacksOnEntryPointV08Test is OperationAttacks {
    function test_attack_validAfterHoldsToTheSecond() public {
        (bytes32 id, PackedUserOperation memory op) = early(START + 100);
        vm.warp(START + 99);
        expectRefused(op, "AA22 expired or not due");
        vm.warp(START + 100);
        assertTrue(handle(op).success);
        assertEq(settledOf(id), 3e6);
    }
}

contract OperationAttacksOnEntryPointV07Test is EntryPointV07Test, OperationAttacks {
    function setUp() public override(EntryPointV07Test, OperationAttacks) {
        super.setUp();
    }

    /// EntryPoint v0.7 lets in the second before, because v0.8 would keep out the first second otherwise. Execution refuses
    /// it, which costs the sponsor gas and nobody a voucher.
    function test_attack_validAfterHoldsToTheSecond() public {
        (bytes32 id, PackedUserOperation memory op) = early(START + 100);
        vm.warp(START + 98);
        expectRefused(op, "AA22 expired or not due");
        vm.warp(START + 99);
        assertFalse(handle(op).success);
        assertEq(settledOf(id), 0);
        assertEq(usdc.balanceOf(payee), 0);
        vm.warp(START + 100);
        Terms memory later = singleTerms();
        (later.validAfter, later.validUntil) = (START + 100, START + 1 days);
        assertTrue(handle(settlement(pack(later), pack(claimOf(id, 3e6)), 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 3e6);
    }
}

/// Settles for whoever calls, and keeps what that paid.
contract Interloper {
    ISessionKeyValidator private immutable _module;
    uint256[] public paid;

    constructor(ISessionKeyValidator module) {
        _module = module;
    }

    function settle(address account, bytes calldata terms, bytes calldata claims) external {
        paid.push(_module.settle(account, terms, claims));
    }
}
