// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC7579Execution} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// The one UserOperation that is accepted, and everything next to it that is not.
contract SessionKeyValidatorValidateTest is StreamTest {
    /// Any hash: the module trusts the account, and the account the EntryPoint, that it is the operation's.
    bytes32 internal constant HASH = keccak256("userOpHash");
    uint256 internal constant FAILED = 1;
    /// Where the claims' length and the claims are in the call data.
    uint256 internal constant CLAIMS_LENGTH_AT = 444;

    bytes32 internal grantId;
    bytes internal terms;
    bytes internal claims;
    uint256 internal accepted;

    function setUp() public override {
        super.setUp();
        (grantId, terms) = grant(singleTerms());
        claims = pack(claimOf(grantId, 3e6));
        // EntryPoint v0.8 refuses at the second `validAfter` itself, so the first second of the grant is one later.
        accepted = (uint256(START - 1) << 208) | (uint256(START + 1 days) << 160);
    }

    // ---------------------------------------------------------------------------------------------------- accepted

    function test_validateUserOp_acceptsTheSettlersSignature() public {
        assertEq(validate(operation()), accepted);
    }

    function test_validateUserOp_acceptsTheSessionKeysSignature() public {
        PackedUserOperation memory op = operation();
        op.signature = sign(sessionKey, HASH);
        assertEq(validate(op), accepted);
    }

    function test_validateUserOp_acceptsSeveralClaims() public {
        (bytes32 multiId, bytes memory multi) = grant(multiTerms());
        bytes memory several = bytes.concat(pack(claimOf(multiId, payee, 3e6)), pack(claimOf(multiId, otherPayee, 4e6)));
        PackedUserOperation memory op = operation();
        op.callData = settleOperation(account, multi, several);
        assertEq(validate(op), accepted);
    }

    function test_validateUserOp_leavesTheWindowToTheEntryPoint() public {
        Terms memory later = singleTerms();
        (later.validAfter, later.validUntil) = (START + 100, START + 200);
        (bytes32 id, bytes memory packed) = grant(later);
        PackedUserOperation memory op = operation();
        op.callData = settleOperation(account, packed, pack(claimOf(id, 1e6)));
        uint256 window = (uint256(START + 99) << 208) | (uint256(START + 200) << 160);
        assertEq(validate(op), window);
        vm.warp(START + 1000);
        assertEq(validate(op), window);
    }

    function test_validateUserOp_acceptsAGrantFromTheFirstSecondOfAll() public {
        Terms memory always = singleTerms();
        (always.validAfter, always.validUntil) = (0, 2 ** 47 - 1);
        (bytes32 id, bytes memory packed) = grant(always);
        PackedUserOperation memory op = operation();
        op.callData = settleOperation(account, packed, pack(claimOf(id, 1e6)));
        assertEq(validate(op), uint256(2 ** 47 - 1) << 160);
    }

    function test_validateUserOp_acceptsTwoOperationsBeforeEitherExecutes() public {
        assertEq(validate(operation()), accepted);
        assertEq(validate(operation()), accepted);
    }

    // ---------------------------------------------------------------------------------------------------- call data

    function test_validateUserOp_refusesAnotherSelector() public {
        PackedUserOperation memory op = operation();
        op.callData[3] ^= 0x01;
        assertEq(validate(op), FAILED);
        op.callData = abi.encodeCall(
            IERC7579Execution.executeFromExecutor, (bytes32(0), abi.encodePacked(module, uint256(0), settleCall()))
        );
        assertEq(validate(op), FAILED);
    }

    function test_validateUserOp_refusesOtherModes() public {
        bytes memory execution = abi.encodePacked(module, uint256(0), settleCall());
        bytes32[4] memory modes = [
            bytes32(hex"01"), // batch
            bytes32(hex"ff"), // delegate call
            bytes32(hex"0001"), // try
            bytes32(uint256(1)) // payload
        ];
        for (uint256 i = 0; i < modes.length; i++) {
            expectFailed(abi.encodeCall(IERC7579Execution.execute, (modes[i], execution)));
        }
    }

    function test_validateUserOp_refusesTrailingBytes() public {
        bytes memory callData = settleOperation(account, terms, claims);
        expectFailed(bytes.concat(callData, hex"00"));
        expectFailed(bytes.concat(callData, new bytes(32)));
        expectFailed(executionOf(address(module), 0, bytes.concat(settleCall(), hex"00")));
        expectFailed(executionOf(address(module), 0, bytes.concat(settleCall(), new bytes(32))));
    }

    function test_validateUserOp_refusesMissingBytes() public {
        bytes memory callData = settleOperation(account, terms, claims);
        uint256[5] memory lengths = [callData.length - 1, 476, 475, 4, 0];
        for (uint256 i = 0; i < lengths.length; i++) {
            bytes memory cut = bytes.concat(callData);
            uint256 length = lengths[i];
            assembly ("memory-safe") {
                mstore(cut, length)
            }
            expectFailed(cut);
        }
    }

    function test_validateUserOp_refusesOtherOffsets() public {
        // The same meaning, decoded from elsewhere: terms and claims swapped in place, offsets adjusted.
        bytes memory swapped = abi.encodePacked(
            ISessionKeyValidator.settle.selector,
            abi.encode(account, uint256(0x60 + 32 + 128), uint256(0x60)),
            abi.encode(claims.length),
            bytes.concat(claims, new bytes(15)),
            abi.encode(terms.length),
            bytes.concat(terms, new bytes(3))
        );
        // It is a valid call of `settle`, which is why it must be refused by its bytes.
        vm.prank(account);
        (bool success,) = address(module).call(swapped);
        assertTrue(success);
        expectFailed(executionOf(address(module), 0, swapped));
    }

    function testFuzz_validateUserOp_refusesAnyChangedByteAroundTheClaims(uint256 position, uint8 change) public {
        vm.assume(change != 0);
        bytes memory callData = settleOperation(account, terms, claims);
        uint256 claimsAt = CLAIMS_LENGTH_AT + 32;
        position = bound(position, 0, callData.length - claims.length - 1);
        if (position >= claimsAt) position += claims.length;
        callData[position] ^= bytes1(change);
        expectFailed(callData);
    }

    function test_validateUserOp_refusesAValue() public {
        expectFailed(executionOf(address(module), 1, settleCall()));
    }

    function test_validateUserOp_refusesAnotherTarget() public {
        expectFailed(executionOf(address(usdc), 0, settleCall()));
        expectFailed(executionOf(account, 0, settleCall()));
    }

    function test_validateUserOp_refusesAnotherCallOfTheModule() public {
        expectFailed(executionOf(address(module), 0, abi.encodeCall(ISessionKeyValidator.unfreezeAll, ())));
        bytes memory other = settleCall();
        other[0] ^= 0x01;
        expectFailed(executionOf(address(module), 0, other));
    }

    function test_validateUserOp_refusesATransferOfTheToken() public {
        expectFailed(executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (sessionKey.addr, 1))));
    }

    function test_validateUserOp_refusesAnotherAccountsSettlement() public {
        install(stranger);
        expectFailed(settleOperation(stranger, terms, claims));
    }

    function test_validateUserOp_refusesClaimsThatAreNotWellFormed() public {
        expectFailed(settleOperation(account, terms, ""));
        expectFailed(settleOperation(account, terms, bytes.concat(claims, hex"00")));
        expectFailed(settleOperation(account, terms, bytes.concat(claims, claims)));
        bytes memory tooLong = pack(claimOf(grantId, payee, 1e6, 1e6, new bytes32[](33)));
        expectFailed(settleOperation(account, terms, tooLong));
    }

    function test_validateUserOp_refusesTermsOfAnotherLength() public {
        expectFailed(settleOperation(account, bytes.concat(terms, hex"00"), claims));
        expectFailed(settleOperation(account, "", claims));
    }

    function testFuzz_validateUserOp_refusesAnythingElseWithoutReverting(
        bytes memory callData,
        bytes memory paymasterAndData,
        bytes memory signature
    ) public {
        PackedUserOperation memory op = operation();
        (op.callData, op.paymasterAndData, op.signature) = (callData, paymasterAndData, signature);
        assertEq(validate(op), FAILED);
    }

    function testFuzz_validateUserOp_refusesAnyAnnouncedLengthWithoutReverting(uint256 length) public {
        vm.assume(length != claims.length);
        bytes memory callData = settleOperation(account, terms, claims);
        assembly ("memory-safe") {
            mstore(add(add(callData, 0x20), CLAIMS_LENGTH_AT), length)
        }
        expectFailed(callData);
    }

    // ---------------------------------------------------------------------------------------------------- who pays

    function test_validateUserOp_refusesAnOperationNobodySponsors() public {
        PackedUserOperation memory op = operation();
        op.paymasterAndData = "";
        assertEq(validate(op), FAILED);
        op.paymasterAndData = abi.encodePacked(makeAddr("paymaster"), new bytes(31));
        assertEq(validate(op), FAILED);
        op.paymasterAndData = new bytes(128);
        assertEq(validate(op), FAILED);
    }

    // ---------------------------------------------------------------------------------------------------- who signs

    function test_validateUserOp_refusesOtherSigners() public {
        PackedUserOperation memory op = operation();
        op.signature = sign(makeKey("owner"), HASH);
        assertEq(validate(op), FAILED);
        op.signature = sign(settler, keccak256("another hash"));
        assertEq(validate(op), FAILED);
        op.signature = sign(settler, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", HASH)));
        assertEq(validate(op), FAILED);
    }

    function test_validateUserOp_refusesHighS() public {
        PackedUserOperation memory op = operation();
        op.signature = signHighS(settler, HASH);
        assertEq(validate(op), FAILED);
    }

    function test_validateUserOp_refusesSignaturesOfAnotherLength() public {
        PackedUserOperation memory op = operation();
        op.signature = signCompact(settler, HASH);
        assertEq(validate(op), FAILED);
        op.signature = bytes.concat(sign(settler, HASH), hex"00");
        assertEq(validate(op), FAILED);
        op.signature = "";
        assertEq(validate(op), FAILED);
    }

    // ---------------------------------------------------------------------------------------------------- which grant

    function test_validateUserOp_refusesAGrantThatWasNeverMade() public {
        Terms memory unknown = singleTerms();
        unknown.totalLimit += 1;
        expectFailed(settleOperation(account, pack(unknown), claims));
    }

    function test_validateUserOp_refusesAFrozenGrantAndAFrozenAccount() public {
        vm.prank(guardian);
        module.freeze(account, grantId);
        assertEq(validate(operation()), FAILED);
        vm.prank(account);
        module.unfreeze(grantId);
        assertEq(validate(operation()), accepted);
        vm.prank(guardian);
        module.freezeAll(account);
        assertEq(validate(operation()), FAILED);
    }

    function test_validateUserOp_refusesARevokedGrant() public {
        vm.prank(guardian);
        module.revoke(account, grantId);
        assertEq(validate(operation()), FAILED);
    }

    function test_validateUserOp_refusesAfterRevokeAllUninstallAndReinstall() public {
        uint256 before = vm.snapshotState();
        vm.prank(guardian);
        module.revokeAll(account);
        assertEq(validate(operation()), FAILED);
        assertTrue(vm.revertToState(before));
        uninstall(account);
        assertEq(validate(operation()), FAILED);
        install(account);
        assertEq(validate(operation()), FAILED);
    }

    function test_validateUserOp_refusesACallerThatIsNotTheSender() public {
        install(stranger);
        vm.prank(stranger);
        assertEq(module.validateUserOp(operation(), HASH), FAILED);
    }

    // ---------------------------------------------------------------------------------------------------- rules

    /// ERC-7562: a slot is the account's if it is the hash of the account's address and anything.
    function test_validateUserOp_readsOnlySlotsOfTheAccount() public {
        PackedUserOperation memory op = operation();
        vm.record();
        assertEq(validate(op), accepted);
        (bytes32[] memory reads, bytes32[] memory writes) = vm.accesses(address(module));
        assertEq(writes.length, 0);
        assertGt(reads.length, 0);
        for (uint256 i = 0; i < reads.length; i++) {
            assertTrue(isOfTheAccount(reads[i]), "a slot that is not the account's");
        }
    }

    function isOfTheAccount(bytes32 slot) internal view returns (bool) {
        for (uint256 position = 0; position < 10; position++) {
            if (slot == keccak256(abi.encode(account, position))) return true;
            if (slot == keccak256(abi.encode(account, keccak256(abi.encode(grantId, position))))) return true;
        }
        return false;
    }

    function testFuzz_isValidSignatureWithSender_alwaysRefuses(address sender, bytes32 hash) public view {
        assertEq(module.isValidSignatureWithSender(sender, hash, sign(sessionKey, hash)), bytes4(0xffffffff));
        assertEq(module.isValidSignatureWithSender(sender, hash, sign(settler, hash)), bytes4(0xffffffff));
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function operation() internal returns (PackedUserOperation memory op) {
        op.sender = account;
        op.callData = settleOperation(account, terms, claims);
        op.paymasterAndData = abi.encodePacked(makeAddr("paymaster"), new bytes(32));
        op.signature = sign(settler, HASH);
    }

    function settleCall() internal view returns (bytes memory) {
        return abi.encodeCall(ISessionKeyValidator.settle, (account, terms, claims));
    }

    function validate(PackedUserOperation memory op) internal returns (uint256) {
        vm.prank(account);
        return module.validateUserOp(op, HASH);
    }

    function expectFailed(bytes memory callData) internal {
        PackedUserOperation memory op = operation();
        op.callData = callData;
        assertEq(validate(op), FAILED);
    }
}
