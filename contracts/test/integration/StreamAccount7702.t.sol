// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Account as ERC4337Account} from "@openzeppelin/contracts/account/Account.sol";
import {AccountERC7579} from "@openzeppelin/contracts/account/extensions/draft-AccountERC7579.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {
    IERC7579AccountConfig,
    IERC7579Execution,
    IERC7579ModuleConfig
} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

interface ICloneFactory {
    function implementation() external view returns (address);
}

interface IEntryPointViews {
    function senderCreator() external view returns (address);
    function getDomainSeparatorV4() external view returns (bytes32);
}

/// An executor module that does as its owner says: what a takeover would use.
contract PuppetExecutor {
    function onInstall(bytes calldata) external {}

    function isModuleType(uint256 moduleTypeId) external pure returns (bool) {
        return moduleTypeId == 2;
    }

    function act(address account, bytes calldata execution) external {
        IERC7579Execution(account).executeFromExecutor(0, execution);
    }
}

contract Collectible is ERC721("Collectible", "C") {
    constructor(address to) {
        _mint(to, 1);
    }
}

/// An EOA of `owner` that may delegate to our account code.
abstract contract DelegatedEoaTest is EntryPointTest {
    bytes32 internal constant PACKED_OPERATION_TYPEHASH = keccak256(
        "PackedUserOperation(address sender,uint256 nonce,bytes initCode,bytes callData,bytes32 accountGasLimits,uint256 preVerificationGas,bytes32 gasFees,bytes paymasterAndData)"
    );
    bytes internal constant AUTHORIZATION_TYPE =
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
    /// EIP-7702's initCode of EntryPoint v0.8: the sender is an EOA that delegates.
    bytes internal constant MARKER = hex"7702";

    address internal implementation;
    /// The account that the same owner has of StreamAccountFactory.
    address internal deployedAccount;

    function setUp() public override {
        super.setUp();
        implementation = vm.deployCode("StreamAccount7702.sol", abi.encode(entryPoint));
        deployedAccount = factory.createAccount(owner.addr, 0);
        account = owner.addr;
        usdc.mint(account, FUNDS);
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    /// A grant of `singleTerms` made by the one operation that also delegates.
    function setUpBudget(uint256 allowance) internal returns (bytes32 grantId, bytes memory terms) {
        Terms memory wanted = singleTerms();
        PackedUserOperation memory op = delegatingOperation(wanted, allowance);
        vm.signAndAttachDelegation(implementation, owner.secret);
        assertTrue(handle(op).success);
        terms = pack(wanted);
        grantId = module.grantIdOf(account, terms);
        // The EntryPoint hashes the code that the EOA delegates to in place of the marker.
        assertEq(hashOf(op), markedHash(op));
    }

    /// The owner's setup with the marker, signed before the EOA delegates.
    function delegatingOperation(Terms memory terms, uint256 allowance)
        internal
        view
        returns (PackedUserOperation memory op)
    {
        op = operation(setUpOperation(terms, allowance).callData, nonceOf(address(0), 0));
        op.initCode = MARKER;
        op = signedBySponsor(op);
        op.signature = sign(owner, markedHash(op));
    }

    /// The same of an EOA that delegates already.
    function markedOperation(Terms memory terms, uint256 allowance)
        internal
        view
        returns (PackedUserOperation memory op)
    {
        op = operation(setUpOperation(terms, allowance).callData, nonceOf(address(0), 0));
        op.initCode = MARKER;
        return signed(op, owner);
    }

    function signedBySponsor(PackedUserOperation memory op) internal view returns (PackedUserOperation memory) {
        uint48 validUntil = uint48(vm.getBlockTimestamp() + 1 hours);
        bytes memory signature = signCompact(sponsor, sponsoredHash(op, validUntil, 0));
        op.paymasterAndData = abi.encodePacked(op.paymasterAndData, validUntil, uint48(0), signature);
        return op;
    }

    /// `userOpHash` of EntryPoint v0.8 for a sender that will delegate to `implementation`.
    function markedHash(PackedUserOperation memory op) internal view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                PACKED_OPERATION_TYPEHASH,
                op.sender,
                op.nonce,
                keccak256(abi.encodePacked(implementation)),
                keccak256(op.callData),
                op.accountGasLimits,
                op.preVerificationGas,
                op.gasFees,
                keccak256(op.paymasterAndData)
            )
        );
        bytes32 separator = IEntryPointViews(address(entryPoint)).getDomainSeparatorV4();
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    /// The owner's authorisation alone, in a transaction of somebody else. Zero ends the delegation.
    function delegate(address target) internal {
        vm.signAndAttachDelegation(target, owner.secret);
        vm.prank(bundler, bundler);
        (bool success,) = stranger.call("");
        assertTrue(success);
        assertEq(account.code, target == address(0) ? bytes("") : designator(target));
    }

    /// What EIP-7702 puts in the place of code.
    function designator(address target) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"ef0100", target);
    }

    /// Struct hash of an EIP-3009 transfer from the account to `payee`.
    function authorization(uint256 value, bytes32 nonce) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(AUTHORIZATION_TYPE);
        return keccak256(abi.encode(typeHash, account, payee, value, 0, START + 60, nonce));
    }

    function digestOf(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), structHash));
    }

    /// The key's signature in ERC-7739's TypedDataSign form for `verifier`.
    function nested(Key memory key, address verifier, bytes32 contents) internal view returns (bytes memory) {
        bytes32 typeHash = keccak256(
            bytes.concat(
                "TypedDataSign(TransferWithAuthorization contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)",
                AUTHORIZATION_TYPE
            )
        );
        (, string memory name, string memory version, uint256 chainId, address named, bytes32 salt,) =
            IERC5267(verifier).eip712Domain();
        assertEq(named, verifier);
        bytes32 structHash = keccak256(
            abi.encode(typeHash, contents, keccak256(bytes(name)), keccak256(bytes(version)), chainId, verifier, salt)
        );
        bytes memory signature = sign(key, digestOf(structHash));
        return abi.encodePacked(
            signature, usdc.DOMAIN_SEPARATOR(), contents, AUTHORIZATION_TYPE, uint16(AUTHORIZATION_TYPE.length)
        );
    }
}

/// An EOA that delegates to our account code: set up with one operation, owned by its own key and nobody else, and what is
/// left of it when the delegation ends.
/// forge-config: default.evm_version = "prague"
contract StreamAccount7702Test is DelegatedEoaTest {
    // ---------------------------------------------------------------------------------------------------- one operation

    function test_setUp_delegatesInstallsApprovesAndGrantsInOneSponsoredOperation() public {
        assertEq(account.balance, 0);
        assertEq(account.code.length, 0);
        (bytes32 grantId,) = setUpBudget(100e6);
        assertEq(account.code, designator(implementation));
        assertEq(account.balance, 0);
        assertEq(usdc.allowance(account, address(module)), 100e6);
        assertStatus(grantId, Status.Active);
        assertTrue(IERC7579ModuleConfig(account).isModuleInstalled(1, address(module), ""));
    }

    function test_settle_paysFromTheEoaBySponsoredOperationAndByAnybody() public {
        (bytes32 grantId, bytes memory terms) = setUpBudget(100e6);
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 30e6)), 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 30e6);
        vm.prank(stranger);
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 45e6))), 15e6);
        assertEq(usdc.balanceOf(account), FUNDS - 45e6);
    }

    function test_marker_bindsTheOwnersSignatureToTheCodeTheyDelegateTo() public {
        PackedUserOperation memory op = delegatingOperation(singleTerms(), 1);
        address other = vm.deployCode("StreamAccount7702.sol", abi.encode(entryPoint));
        vm.signAndAttachDelegation(other, owner.secret);
        expectRefused(op, "AA24 signature error");
    }

    function test_delegation_aloneGivesNobodyAnything() public {
        // Seen in a mempool, an authorisation can be sent by anybody, in any transaction.
        vm.signAndAttachDelegation(implementation, owner.secret);
        vm.prank(stranger, stranger);
        (bool success,) = account.call("");
        assertTrue(success);
        assertEq(account.code, designator(implementation));
        assertTrue(handle(markedOperation(singleTerms(), 1)).success, "the owner goes on as if nothing had been");
    }

    // ---------------------------------------------------------------------------------------------------- one owner

    function test_takeover_thereIsNothingToInitialiseAndNoOwnerToSet() public {
        delegate(implementation);
        bytes[3] memory calls = [
            abi.encodeWithSignature("initialize(address)", stranger),
            abi.encodeWithSignature("setOwner(address)", stranger),
            abi.encodeWithSignature("initializeAccount(address,bytes)", stranger, "")
        ];
        address[3] memory callers = [stranger, address(entryPoint), account];
        for (uint256 i = 0; i < calls.length; i++) {
            for (uint256 j = 0; j < callers.length; j++) {
                vm.expectRevert(
                    abi.encodeWithSelector(AccountERC7579.ERC7579MissingFallbackHandler.selector, bytes4(calls[i]))
                );
                vm.prank(callers[j]);
                (bool reverted,) = account.call(calls[i]);
                assertTrue(reverted);
            }
        }
    }

    function test_takeover_nobodyButTheAccountExecutesOrInstalls() public {
        setUpBudget(100e6);
        address puppet = address(new PuppetExecutor());
        bytes[3] memory calls = [
            executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 1))),
            abi.encodeCall(IERC7579ModuleConfig.installModule, (2, puppet, "")),
            abi.encodeCall(IERC7579ModuleConfig.uninstallModule, (1, address(module), ""))
        ];
        address[6] memory callers =
            [stranger, guardian, sessionKey.addr, address(module), implementation, deployedAccount];
        for (uint256 i = 0; i < calls.length; i++) {
            for (uint256 j = 0; j < callers.length; j++) {
                vm.expectRevert(abi.encodeWithSelector(ERC4337Account.AccountUnauthorized.selector, callers[j]));
                vm.prank(callers[j]);
                (bool reverted,) = account.call(calls[i]);
                assertTrue(reverted);
            }
        }
        vm.expectRevert();
        PuppetExecutor(puppet)
            .act(account, abi.encodePacked(usdc, uint256(0), abi.encodeCall(IERC20.transfer, (stranger, 1))));
    }

    function test_takeover_theEntryPointsInitialisingCallIsAnybodysCall() public {
        // EntryPoint v0.8 makes the call that follows the marker from its SenderCreator, before it checks a signature.
        delegate(implementation);
        bytes memory execution = executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 1)));
        PackedUserOperation memory op = operation(execution, nonceOf(address(0), 0));
        op.initCode = abi.encodePacked(bytes20(bytes2(0x7702)), execution);
        op = signed(op, makeKey("thief"));
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        bytes memory inner = abi.encodeWithSelector(
            ERC4337Account.AccountUnauthorized.selector, IEntryPointViews(address(entryPoint)).senderCreator()
        );
        vm.expectRevert(
            abi.encodeWithSelector(IEntryPoint.FailedOpWithRevert.selector, 0, "AA13 EIP7702 sender init failed", inner)
        );
        vm.prank(bundler, bundler);
        entryPoint.handleOps(ops, payable(bundler));
    }

    function test_takeover_onlyTheEoasOwnKeySignsItsOperations() public {
        setUpBudget(100e6);
        bytes memory transfer = executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 1)));
        Key[3] memory keys = [makeKey("thief"), sessionKey, settler];
        for (uint256 i = 0; i < keys.length; i++) {
            expectRefused(signed(operation(transfer, nonceOf(address(0), 0)), keys[i]), "AA24 signature error");
            expectRefused(signed(operation(transfer, nonceOf(address(module), 0)), keys[i]), "AA24 signature error");
        }
        assertTrue(handle(signed(operation(transfer, nonceOf(address(0), 0)), owner)).success);
    }

    function test_theEoasOwnTransactionsNeedNoEntryPoint() public {
        delegate(implementation);
        bytes memory transfer = executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 7)));
        vm.prank(account, account);
        (bool success,) = account.call(transfer);
        assertTrue(success);
        vm.prank(account, account);
        usdc.transfer(stranger, 5);
        assertEq(usdc.balanceOf(stranger), 12);
    }

    function test_theImplementationItselfIsNobodysAccount() public {
        bytes memory transfer = executionOf(address(usdc), 0, abi.encodeCall(IERC20.transfer, (stranger, 0)));
        vm.expectRevert(abi.encodeWithSelector(ERC4337Account.AccountUnauthorized.selector, owner.addr));
        vm.prank(owner.addr);
        (bool reverted,) = implementation.call(transfer);
        assertTrue(reverted);
        PackedUserOperation memory op = operation(transfer, entryPoint.getNonce(implementation, 0));
        op.sender = implementation;
        expectRefused(signed(op, owner), "AA24 signature error");
    }

    // ---------------------------------------------------------------------------------------------------- storage

    function test_storage_ofFormerCodeMeansNothing() public {
        // StreamAccount keeps the same things in its first slots, as most accounts do.
        PuppetExecutor puppet = new PuppetExecutor();
        delegate(ICloneFactory(address(factory)).implementation());
        vm.startPrank(account, account);
        IERC7579ModuleConfig(account).installModule(2, address(puppet), "");
        IERC7579ModuleConfig(account).installModule(1, address(module), abi.encode(stranger));
        vm.stopPrank();
        assertTrue(IERC7579ModuleConfig(account).isModuleInstalled(2, address(puppet), ""));

        delegate(implementation);
        assertFalse(IERC7579ModuleConfig(account).isModuleInstalled(2, address(puppet), ""));
        assertFalse(IERC7579ModuleConfig(account).isModuleInstalled(1, address(module), ""));
        bytes memory transfer = abi.encodePacked(usdc, uint256(0), abi.encodeCall(IERC20.transfer, (stranger, 1)));
        vm.expectRevert();
        puppet.act(account, transfer);
    }

    function testFuzz_storage_outsideTheNamespaceMeansNothing(uint8 slot, bytes32 value) public {
        vm.store(account, bytes32(uint256(slot)), value);
        (bytes32 grantId, bytes memory terms) = setUpBudget(100e6);
        assertEq(vm.load(account, bytes32(uint256(slot))), value);
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 30e6)), 0, settler)).success);
    }

    function test_storage_isInTheNamespaceThatTheSourceNames() public {
        bytes32 id = keccak256("protocolbanks.storage.StreamAccount7702");
        uint256 namespace = uint256(keccak256(abi.encode(uint256(id) - 1)) & ~bytes32(uint256(0xff)));
        vm.record();
        setUpBudget(100e6);
        (, bytes32[] memory writes) = vm.accesses(account);
        // The set of validators, after two slots that EIP712 does not use: its length, its one element, and the place of it.
        uint256 validators = namespace + 2;
        assertEq(writes.length, 3);
        assertEq(writes[0], bytes32(validators));
        assertEq(writes[1], keccak256(abi.encode(validators)));
        assertEq(writes[2], keccak256(abi.encode(module, validators + 1)));
    }

    // ---------------------------------------------------------------------------------------------------- ERC-1271

    function test_isValidSignature_acceptsTheKeysPlainSignatureAsBefore() public {
        // The token asks the code as soon as there is some: an x402 client with this key notices nothing.
        bytes memory signature = sign(owner, digestOf(authorization(5e6, bytes32("one"))));
        usdc.transferWithAuthorization(account, payee, 5e6, 0, START + 60, bytes32("one"), signature);
        delegate(implementation);
        signature = sign(owner, digestOf(authorization(5e6, bytes32("two"))));
        usdc.transferWithAuthorization(account, payee, 5e6, 0, START + 60, bytes32("two"), signature);
        assertEq(usdc.balanceOf(payee), 10e6);
    }

    function test_isValidSignature_acceptsTheKeysNestedSignature() public {
        delegate(implementation);
        bytes32 contents = authorization(5e6, bytes32("nonce"));
        usdc.transferWithAuthorization(
            account, payee, 5e6, 0, START + 60, bytes32("nonce"), nested(owner, account, contents)
        );
        assertEq(usdc.balanceOf(payee), 5e6);
    }

    function test_isValidSignature_refusesWhatWasSignedForAnotherAccountOfTheOwner() public {
        delegate(implementation);
        bytes32 contents = authorization(5e6, bytes32("nonce"));
        bytes32 hash = digestOf(contents);
        bytes4 valid = IERC1271.isValidSignature.selector;
        bytes4 invalid = 0xffffffff;
        bytes memory forDeployed = nested(owner, deployedAccount, contents);
        assertEq(IERC1271(deployedAccount).isValidSignature(hash, forDeployed), valid);
        assertEq(IERC1271(account).isValidSignature(hash, forDeployed), invalid);
        assertEq(IERC1271(deployedAccount).isValidSignature(hash, nested(owner, account, contents)), invalid);
        assertEq(IERC1271(deployedAccount).isValidSignature(hash, sign(owner, hash)), invalid);
    }

    function test_isValidSignature_refusesOthersAndTheModule() public {
        setUpBudget(1);
        bytes32 contents = authorization(5e6, bytes32("nonce"));
        bytes32 hash = digestOf(contents);
        Key[3] memory keys = [sessionKey, settler, makeKey("thief")];
        for (uint256 i = 0; i < keys.length; i++) {
            bytes[3] memory signatures = [
                sign(keys[i], hash), nested(keys[i], account, contents), abi.encodePacked(module, sign(keys[i], hash))
            ];
            for (uint256 j = 0; j < signatures.length; j++) {
                assertEq(IERC1271(account).isValidSignature(hash, signatures[j]), bytes4(0xffffffff));
            }
        }
        assertEq(IERC1271(account).isValidSignature(hash, signHighS(owner, hash)), bytes4(0xffffffff));
        assertEq(IERC1271(account).isValidSignature(hash, ""), bytes4(0xffffffff));
    }

    // ---------------------------------------------------------------------------------------------------- the same EOA

    function test_account_saysWhatItIsAndReceivesWhatItReceivedBefore() public {
        delegate(implementation);
        assertEq(IERC7579AccountConfig(account).accountId(), "protocolbanks.stream7702.1.0.0");
        Collectible collectible = new Collectible(stranger);
        vm.deal(stranger, 1 ether);
        vm.startPrank(stranger);
        collectible.safeTransferFrom(stranger, account, 1);
        payable(account).transfer(1 ether);
        vm.stopPrank();
        assertEq(collectible.ownerOf(1), account);
        assertEq(account.balance, 1 ether);
    }

    // ---------------------------------------------------------------------------------------------------- the end

    function test_uninstall_endsEveryGrantForGood() public {
        (bytes32 grantId, bytes memory terms) = setUpBudget(100e6);
        bytes memory claims = pack(claimOf(grantId, 10e6));
        bytes memory uninstallation = abi.encodeCall(IERC7579ModuleConfig.uninstallModule, (1, address(module), ""));
        assertTrue(handle(ownerOperation(account, uninstallation)).success);
        expectRefused(settlement(terms, claims, 0, settler), "AA24 signature error");
        vm.expectRevert();
        module.settle(account, terms, claims);
    }

    function test_undelegation_leavesGrantsAndAllowance() public {
        (bytes32 grantId, bytes memory terms) = setUpBudget(100e6);
        delegate(address(0));
        assertEq(account.code.length, 0);
        // No code, no operation; but what the agent has signed is still owed, and anybody can collect it.
        expectRefused(settlement(terms, pack(claimOf(grantId, 10e6)), 0, settler), "AA20 account not deployed");
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 10e6))), 10e6);
        assertEq(usdc.balanceOf(payee), 10e6);

        // Delegating again continues where it was.
        delegate(implementation);
        assertTrue(handle(settlement(terms, pack(claimOf(grantId, 25e6)), 0, settler)).success);
        assertEq(usdc.balanceOf(payee), 25e6);
    }

    function test_undelegation_ofOtherCodeLeavesThemToo() public {
        (bytes32 grantId, bytes memory terms) = setUpBudget(100e6);
        delegate(address(new PuppetExecutor()));
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 10e6))), 10e6);
    }

    function test_undelegation_theEoaStopsGrantsWithItsOwnTransactions() public {
        (bytes32 grantId, bytes memory terms) = setUpBudget(100e6);
        bytes memory claims = pack(claimOf(grantId, 10e6));
        delegate(address(0));
        vm.prank(guardian);
        module.freeze(account, grantId);
        vm.expectRevert();
        module.settle(account, terms, claims);

        vm.startPrank(account, account);
        module.unfreeze(grantId);
        usdc.approve(address(module), 0);
        vm.stopPrank();
        assertEq(module.settle(account, terms, claims), 0, "no allowance, no payment");

        vm.startPrank(account, account);
        usdc.approve(address(module), 100e6);
        module.revokeAll(account);
        vm.stopPrank();
        vm.expectRevert();
        module.settle(account, terms, claims);
    }
}

/// What whole transactions cost an EOA that delegates, as GasTest measures them for a StreamAccount.
/// forge-config: default.evm_version = "prague"
/// forge-config: default.isolate = true
contract StreamAccount7702GasTest is DelegatedEoaTest {
    function test_gas_delegateInstallApproveGrant() public {
        PackedUserOperation memory op = delegatingOperation(singleTerms(), 50e6);
        vm.signAndAttachDelegation(implementation, owner.secret);
        handle(op);
        check("delegate, install, approve, grant", 285_000);
    }

    function test_gas_settlementAlone() public {
        (bytes32 grantId, bytes memory terms) = setUpBudget(50e6);
        handle(settlement(terms, pack(claimOf(grantId, 1e6)), 0, settler));
        handle(settlement(terms, pack(claimOf(grantId, 2e6)), 0, settler));
        check("settlement alone, later one", 155_000);
    }

    function check(string memory name, uint256 bound) internal {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        emit log_named_uint(name, gas);
        assertLt(gas, bound);
    }
}
