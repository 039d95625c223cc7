// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC4337Utils, IEntryPointExtra} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {
    Execution,
    IERC7579Execution,
    IERC7579ModuleConfig
} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Vm} from "forge-std/Vm.sol";
import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "./StreamTest.sol";

interface IFactory {
    function createAccount(address owner, bytes32 salt) external returns (address);
    function getAddress(address owner, bytes32 salt) external view returns (address);
}

/// The real EntryPoint v0.8 at its own address, our paymaster with a deposit, and an account of `owner` that is counted on
/// but not deployed yet. `StreamTest`'s account is replaced by it.
abstract contract EntryPointTest is StreamTest {
    /// What brings EntryPoint v0.8's creation code to its address.
    bytes32 internal constant ENTRY_POINT_SALT = 0x0a59dbff790c23c976a548690c27297883cc66b4c67024f9117b0238995e35e9;
    bytes32 internal constant SPONSORED_TYPEHASH = keccak256(
        "SponsoredUserOperation(address sender,uint256 nonce,bytes32 initCodeHash,bytes32 callDataHash,bytes32 accountGasLimits,uint256 preVerificationGas,bytes32 gasFees,bytes32 paymasterGasLimits,uint48 validUntil,uint48 validAfter)"
    );
    bytes32 internal constant USER_OPERATION_EVENT =
        keccak256("UserOperationEvent(bytes32,address,address,uint256,bool,uint256,uint256)");

    /// What the EntryPoint says about one operation.
    struct Outcome {
        bool success;
        uint256 actualGasUsed;
    }

    IEntryPoint internal entryPoint = ERC4337Utils.ENTRYPOINT_V08;
    Key internal owner = makeKey("owner");
    Key internal sponsor = makeKey("sponsor");
    address internal bundler = makeAddr("bundler");
    address internal paymaster;
    IFactory internal factory;
    /// Of `account`, see `useAccount`.
    bytes32 internal accountSalt;

    function setUp() public virtual override {
        vm.warp(START);
        string memory artifact = vm.readFile("node_modules/@account-abstraction/contracts/artifacts/EntryPoint.json");
        bytes memory creationCode = vm.parseJsonBytes(artifact, ".bytecode");
        (bool success,) = CREATE2_FACTORY.call(bytes.concat(ENTRY_POINT_SALT, creationCode));
        require(success && address(entryPoint).code.length > 0, "EntryPoint v0.8 is not where it belongs");

        paymaster = vm.deployCode("SponsorPaymaster.sol", abi.encode(entryPoint, address(this), sponsor.addr));
        vm.deal(address(this), 10 ether);
        entryPoint.depositTo{value: 10 ether}(paymaster);
        address implementation = vm.deployCode("StreamAccount.sol", abi.encode(entryPoint));
        factory = IFactory(vm.deployCode("StreamAccountFactory.sol", abi.encode(implementation)));
        useAccount(0);
        usdc.mint(account, FUNDS);
        vm.deal(bundler, 1 ether);
    }

    /// From now on `account` is the owner's account of this salt, deployed or not.
    function useAccount(bytes32 salt) internal {
        accountSalt = salt;
        account = factory.getAddress(owner.addr, salt);
    }

    // ---------------------------------------------------------------------------------------------------- operations

    /// The owner's one operation: deploys the account, installs the module, approves `allowance` and grants.
    function setUpOperation(Terms memory terms, uint256 allowance)
        internal
        view
        returns (PackedUserOperation memory op)
    {
        Execution[] memory calls = new Execution[](3);
        calls[0] = Execution(
            account, 0, abi.encodeCall(IERC7579ModuleConfig.installModule, (1, address(module), abi.encode(guardian)))
        );
        calls[1] = Execution(address(usdc), 0, abi.encodeCall(IERC20.approve, (address(module), allowance)));
        calls[2] = Execution(address(module), 0, abi.encodeCall(ISessionKeyValidator.grant, (terms)));
        op = operation(
            abi.encodeCall(IERC7579Execution.execute, (bytes32(hex"01"), abi.encode(calls))), nonceOf(address(0), 0)
        );
        op.initCode = abi.encodePacked(factory, abi.encodeCall(IFactory.createAccount, (owner.addr, accountSalt)));
        return signed(op, owner);
    }

    /// A sponsored settlement in a lane of its own, signed by `key`.
    function settlement(bytes memory terms, bytes memory claims, uint32 lane, Key memory key)
        internal
        view
        returns (PackedUserOperation memory)
    {
        return signed(operation(settleOperation(account, terms, claims), nonceOf(address(module), lane)), key);
    }

    /// A sponsored operation of the owner with a single call.
    function ownerOperation(address target, bytes memory data) internal view returns (PackedUserOperation memory) {
        return signed(operation(executionOf(target, 0, data), nonceOf(address(0), 0)), owner);
    }

    /// Unsigned, with gas limits that are more than enough.
    function operation(bytes memory callData, uint256 nonce) internal view returns (PackedUserOperation memory op) {
        op.sender = account;
        op.nonce = nonce;
        op.callData = callData;
        op.accountGasLimits = bytes32(abi.encodePacked(uint128(500_000), uint128(1_500_000)));
        op.preVerificationGas = 50_000;
        op.gasFees = bytes32(abi.encodePacked(uint128(1 gwei), uint128(1 gwei)));
        op.paymasterAndData = abi.encodePacked(paymaster, uint128(50_000), uint128(0));
    }

    /// Sponsored from now on for an hour, then signed. The sponsor signs first.
    function signed(PackedUserOperation memory op, Key memory key) internal view returns (PackedUserOperation memory) {
        return signed(op, key, uint48(vm.getBlockTimestamp() + 1 hours), uint48(vm.getBlockTimestamp() - 1), sponsor);
    }

    function signed(
        PackedUserOperation memory op,
        Key memory key,
        uint48 validUntil,
        uint48 validAfter,
        Key memory sponsoredBy
    ) internal view returns (PackedUserOperation memory) {
        bytes memory signature = signCompact(sponsoredBy, sponsoredHash(op, validUntil, validAfter));
        op.paymasterAndData = abi.encodePacked(op.paymasterAndData, validUntil, validAfter, signature);
        op.signature = sign(key, hashOf(op));
        return op;
    }

    function nonceOf(address validator, uint32 lane) internal view returns (uint256) {
        return entryPoint.getNonce(account, (uint192(uint160(validator)) << 32) | lane);
    }

    function hashOf(PackedUserOperation memory op) internal view returns (bytes32) {
        return IEntryPointExtra(address(entryPoint)).getUserOpHash(op);
    }

    function sponsoredHash(PackedUserOperation memory op, uint48 validUntil, uint48 validAfter)
        internal
        view
        returns (bytes32)
    {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Protocol Banks Sponsor"),
                keccak256("1"),
                block.chainid,
                paymaster
            )
        );
        bytes memory accountPart = abi.encode(
            SPONSORED_TYPEHASH, op.sender, op.nonce, keccak256(op.initCode), keccak256(op.callData), op.accountGasLimits
        );
        bytes memory gasPart = abi.encode(
            op.preVerificationGas, op.gasFees, uint256(50_000) << 128, uint256(validUntil), uint256(validAfter)
        );
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(bytes.concat(accountPart, gasPart))));
    }

    // ---------------------------------------------------------------------------------------------------- bundling

    function handle(PackedUserOperation memory op) internal returns (Outcome memory) {
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        return handle(ops)[0];
    }

    function handle(PackedUserOperation memory first, PackedUserOperation memory second)
        internal
        returns (Outcome[] memory)
    {
        PackedUserOperation[] memory ops = new PackedUserOperation[](2);
        (ops[0], ops[1]) = (first, second);
        return handle(ops);
    }

    function handle(PackedUserOperation[] memory ops) internal returns (Outcome[] memory outcomes) {
        vm.recordLogs();
        vm.prank(bundler, bundler);
        entryPoint.handleOps(ops, payable(bundler));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        outcomes = new Outcome[](ops.length);
        uint256 found = 0;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] != USER_OPERATION_EVENT) continue;
            (, bool success,, uint256 actualGasUsed) = abi.decode(logs[i].data, (uint256, bool, uint256, uint256));
            outcomes[found++] = Outcome(success, actualGasUsed);
        }
        assertEq(found, ops.length, "outcomes");
    }

    /// The EntryPoint refuses the bundle because of this operation.
    function expectRefused(PackedUserOperation memory op, string memory reason) internal {
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        vm.expectRevert(abi.encodeWithSelector(IEntryPoint.FailedOp.selector, 0, reason));
        vm.prank(bundler, bundler);
        entryPoint.handleOps(ops, payable(bundler));
    }
}
