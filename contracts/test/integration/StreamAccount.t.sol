// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Account as ERC4337Account} from "@openzeppelin/contracts/account/Account.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {StreamAccount} from "../../src/StreamAccount.sol";
import {StreamAccountFactory} from "../../src/StreamAccountFactory.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

/// Making accounts, owning one, and signing messages for it.
contract StreamAccountTest is EntryPointTest {
    StreamAccount internal streamAccount;

    function setUp() public override {
        super.setUp();
        factory.createAccount(owner.addr, 0);
        streamAccount = StreamAccount(payable(account));
    }

    // ---------------------------------------------------------------------------------------------------- factory

    function test_createAccount_putsTheAccountWhereItWasAnnounced() public {
        address announced = factory.getAddress(stranger, bytes32("salt"));
        assertEq(announced.code.length, 0);
        vm.expectEmit(announced);
        emit StreamAccount.OwnerChanged(address(0), stranger);
        vm.expectEmit(address(factory));
        emit StreamAccountFactory.AccountCreated(announced, stranger, bytes32("salt"));
        assertEq(factory.createAccount(stranger, bytes32("salt")), announced);
        assertEq(StreamAccount(payable(announced)).owner(), stranger);
    }

    function test_createAccount_returnsTheOneThatIsThere() public {
        vm.recordLogs();
        assertEq(factory.createAccount(owner.addr, 0), account);
        assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_createAccount_revertsForNobody() public {
        vm.expectRevert(abi.encodeWithSelector(StreamAccount.InvalidOwner.selector, address(0)));
        factory.createAccount(address(0), 0);
    }

    function testFuzz_getAddress_differsByOwnerAndSalt(address otherOwner, bytes32 salt) public view {
        vm.assume(otherOwner != owner.addr || salt != 0);
        assertNotEq(factory.getAddress(otherOwner, salt), account);
    }

    // ---------------------------------------------------------------------------------------------------- owner

    function test_initialize_worksOnceAndNeverOnTheImplementation() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        streamAccount.initialize(stranger);
        StreamAccount implementation = StreamAccountFactory(address(factory)).implementation();
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(stranger);
        assertEq(implementation.owner(), address(0));
    }

    function test_setOwner_handsTheAccountOver() public {
        Key memory successor = makeKey("successor");
        PackedUserOperation memory op =
            ownerOperation(account, abi.encodeCall(StreamAccount.setOwner, (successor.addr)));
        vm.expectEmit(account);
        emit StreamAccount.OwnerChanged(owner.addr, successor.addr);
        assertTrue(handle(op).success);
        assertEq(streamAccount.owner(), successor.addr);

        bytes memory transfer = abi.encodeCall(IERC20.transfer, (stranger, 1e6));
        expectRefused(ownerOperation(address(usdc), transfer), "AA24 signature error");
        op = operation(executionOf(address(usdc), 0, transfer), nonceOf(address(0), 0));
        assertTrue(handle(signed(op, successor)).success);
        assertEq(usdc.balanceOf(stranger), 1e6);
    }

    function test_setOwner_isForTheAccountItselfOnly() public {
        address[3] memory callers = [owner.addr, address(entryPoint), stranger];
        for (uint256 i = 0; i < callers.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(ERC4337Account.AccountUnauthorized.selector, callers[i]));
            vm.prank(callers[i]);
            streamAccount.setOwner(stranger);
        }
    }

    function test_setOwner_revertsForNobodyAndForTheAccountItself() public {
        address[2] memory owners = [address(0), account];
        for (uint256 i = 0; i < owners.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(StreamAccount.InvalidOwner.selector, owners[i]));
            vm.prank(account);
            streamAccount.setOwner(owners[i]);
        }
    }

    function test_execute_isRefusedToEverybodyButTheEntryPoint() public {
        address[2] memory callers = [owner.addr, stranger];
        for (uint256 i = 0; i < callers.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(ERC4337Account.AccountUnauthorized.selector, callers[i]));
            vm.prank(callers[i]);
            streamAccount.execute(0, abi.encodePacked(address(usdc), uint256(0), hex""));
        }
    }

    function test_account_saysWhatItIs() public view {
        assertEq(streamAccount.accountId(), "protocolbanks.stream.1.0.0");
        assertEq(address(streamAccount.entryPoint()), address(entryPoint));
    }

    // ---------------------------------------------------------------------------------------------------- ERC-1271

    function test_isValidSignature_acceptsTheOwnersNestedSignatureForAnEip3009Authorisation() public {
        bytes32 contents = authorization(account, 5e6);
        bytes memory signature = nested(owner, contents);
        usdc.transferWithAuthorization(account, payee, 5e6, 0, START + 60, bytes32("nonce"), signature);
        assertEq(usdc.balanceOf(payee), 5e6);
        assertTrue(usdc.authorizationState(account, bytes32("nonce")));
    }

    function test_isValidSignature_refusesTheOwnersPlainSignature() public view {
        // Valid for one account of the owner, it would be valid for all.
        bytes32 hash = keccak256("hash");
        assertEq(streamAccount.isValidSignature(hash, sign(owner, hash)), bytes4(0xffffffff));
    }

    function test_isValidSignature_refusesASignatureForAnotherAccountOfTheSameOwner() public {
        address other = factory.createAccount(owner.addr, bytes32("other"));
        bytes32 contents = authorization(account, 5e6);
        bytes memory signature = nested(owner, contents);
        bytes32 hash = keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), contents));
        assertEq(streamAccount.isValidSignature(hash, signature), IERC1271.isValidSignature.selector);
        assertEq(StreamAccount(payable(other)).isValidSignature(hash, signature), bytes4(0xffffffff));
    }

    function test_isValidSignature_refusesOthersAndTheModule() public {
        handle(setUpOperationWithoutInitCode());
        bytes32 contents = authorization(account, 5e6);
        bytes32 hash = keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), contents));
        Key[2] memory keys = [sessionKey, settler];
        for (uint256 i = 0; i < keys.length; i++) {
            assertEq(streamAccount.isValidSignature(hash, nested(keys[i], contents)), bytes4(0xffffffff));
            bytes memory byModule = abi.encodePacked(module, sign(keys[i], hash));
            assertEq(streamAccount.isValidSignature(hash, byModule), bytes4(0xffffffff));
        }
    }

    function setUpOperationWithoutInitCode() internal view returns (PackedUserOperation memory op) {
        op = setUpOperation(singleTerms(), 1);
        op = operation(op.callData, op.nonce);
        return signed(op, owner);
    }

    /// Struct hash of an EIP-3009 transfer to `payee`.
    function authorization(address from, uint256 value) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                from,
                payee,
                value,
                0,
                START + 60,
                bytes32("nonce")
            )
        );
    }

    /// The key's signature in ERC-7739's TypedDataSign form, for an authorisation in the token's domain by `account`.
    function nested(Key memory key, bytes32 contents) internal view returns (bytes memory) {
        bytes memory contentsType =
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        bytes32 typeHash = keccak256(
            bytes.concat(
                "TypedDataSign(TransferWithAuthorization contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)",
                contentsType
            )
        );
        (, string memory name, string memory version, uint256 chainId, address verifier, bytes32 salt,) =
            IERC5267(account).eip712Domain();
        assertEq(verifier, account);
        bytes32 structHash = keccak256(
            abi.encode(typeHash, contents, keccak256(bytes(name)), keccak256(bytes(version)), chainId, verifier, salt)
        );
        bytes32 separator = usdc.DOMAIN_SEPARATOR();
        bytes memory signature = sign(key, keccak256(abi.encodePacked(hex"1901", separator, structHash)));
        return abi.encodePacked(signature, separator, contents, contentsType, uint16(contentsType.length));
    }
}
