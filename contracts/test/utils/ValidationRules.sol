// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {
    IAccount,
    IEntryPointStake,
    IPaymaster,
    PackedUserOperation
} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {Vm} from "forge-std/Vm.sol";
import {EntryPointTest} from "./EntryPointTest.sol";

interface ISenderCreator {
    function createSender(bytes calldata initCode) external returns (address);
}

interface IStake {
    function getDepositInfo(address who)
        external
        view
        returns (uint256 deposit, bool staked, uint112 stake, uint32 unstakeDelaySec, uint48 withdrawTime);
}

/// What a bundler does before it takes an operation: traces its validation, opcode by opcode, and names every rule of
/// ERC-7562 that is broken. The trace is that of a `handleOps`; its phases begin with the calls that the EntryPoint makes
/// to the sender creator, the account and the paymaster. Needs forge's tracer: profile `trace` in foundry.toml.
abstract contract ValidationRules is EntryPointTest {
    /// The part of the validation that one entity (factory, account or paymaster) is answerable for.
    struct Phase {
        address entity;
        bool staked;
        bool deploys;
        /// Call depth of the entity's own frame. Frames above it are the EntryPoint's and the sender creator's.
        uint64 depth;
        uint256 creations;
    }

    struct Inspection {
        /// Whether the EntryPoint took the operation.
        bool accepted;
        /// How many entities had a say, and in how many steps. A trace that was cut wrongly shows here.
        uint256 phases;
        uint256 steps;
        /// `<rule>: <opcode> at <address>`, in the order of the trace.
        string[] violations;
    }

    /// Slots after the hash that still belong to it: a struct in a mapping.
    uint256 internal constant ASSOCIATED_SLOTS = 128;

    /// OP-011: ORIGIN, GASPRICE, BLOCKHASH, COINBASE, TIMESTAMP, NUMBER, PREVRANDAO, GASLIMIT, BASEFEE, CREATE, INVALID
    /// and SELFDESTRUCT; and, younger than the list, BLOBHASH and BLOBBASEFEE.
    bytes internal constant BANNED = hex"323a40414243444548f0feff494a";

    uint8 private constant ISZERO = 0x15;
    uint8 private constant KECCAK256 = 0x20;
    uint8 private constant BALANCE = 0x31;
    uint8 private constant EXTCODESIZE = 0x3b;
    uint8 private constant EXTCODECOPY = 0x3c;
    uint8 private constant EXTCODEHASH = 0x3f;
    uint8 private constant SELFBALANCE = 0x47;
    uint8 private constant SLOAD = 0x54;
    uint8 private constant SSTORE = 0x55;
    uint8 private constant GAS = 0x5a;
    uint8 private constant TLOAD = 0x5c;
    uint8 private constant TSTORE = 0x5d;
    uint8 private constant CALL = 0xf1;
    uint8 private constant CALLCODE = 0xf2;
    uint8 private constant DELEGATECALL = 0xf4;
    uint8 private constant CREATE2 = 0xf5;
    uint8 private constant STATICCALL = 0xfa;

    // Of the operation under inspection.
    address private _factory;
    Phase private _phase;
    string[] private _violations;
    /// What the validation hashed: the preimage's first word, if it is an address, and the hash.
    address[] private _hashed;
    uint256[] private _hashes;

    /// In a frame of its own: a trace is megabytes, and memory is paid for by the square of its size.
    function inspect(PackedUserOperation memory op) internal returns (Inspection memory) {
        return this.inspectHere(op);
    }

    function inspectHere(PackedUserOperation memory op) external returns (Inspection memory found) {
        PackedUserOperation[] memory ops = new PackedUserOperation[](1);
        ops[0] = op;
        vm.startDebugTraceRecording();
        vm.prank(bundler, bundler);
        try entryPoint.handleOps(ops, payable(bundler)) {
            found.accepted = true;
        } catch {}
        Vm.DebugStep[] memory steps = vm.stopAndReturnDebugTraceRecording();

        _factory = op.initCode.length >= 20 ? address(bytes20(op.initCode)) : address(0);
        delete _violations;
        delete _hashed;
        delete _hashes;
        uint64 outside = 0;
        for (uint256 i = 0; i + 1 < steps.length; i++) {
            Vm.DebugStep memory step = steps[i];
            if (outside != 0 && step.depth <= outside) outside = 0;
            if (outside == 0) {
                if (step.contractAddr != address(entryPoint) || step.opcode != CALL || !_begins(step)) continue;
                (outside, found.phases) = (step.depth, found.phases + 1);
            } else if (step.depth >= _phase.depth && step.contractAddr != address(entryPoint)) {
                found.steps++;
                _check(step, steps[i + 1]);
            }
        }
        found.violations = _violations;
    }

    /// Whether this call of the EntryPoint begins a phase, and which.
    function _begins(Vm.DebugStep memory step) private returns (bool) {
        bytes4 selector = bytes4(step.memoryInput);
        address callee = address(uint160(step.stack[1]));
        if (selector == ISenderCreator.createSender.selector) {
            _phase = Phase(_factory, _isStaked(_factory), true, step.depth + 2, 0);
        } else if (selector == IAccount.validateUserOp.selector) {
            _phase = Phase(callee, _isStaked(callee), false, step.depth + 1, 0);
        } else if (selector == IPaymaster.validatePaymasterUserOp.selector) {
            _phase = Phase(callee, _isStaked(callee), false, step.depth + 1, 0);
        } else {
            return false;
        }
        return true;
    }

    function _check(Vm.DebugStep memory step, Vm.DebugStep memory next) private {
        uint8 opcode = step.opcode;
        if (opcode == KECCAK256) _remember(step.memoryInput);
        if (step.isOutOfGas) _violation("OP-020", step);
        if (_isBanned(opcode)) _violation("OP-011", step);
        if (opcode == GAS && !_isCall(next.opcode)) _violation("OP-012", step);
        if (!_isAssigned(opcode)) _violation("OP-013", step);
        if ((opcode == BALANCE || opcode == SELFBALANCE) && !_phase.staked) _violation("OP-080", step);
        if (opcode == CREATE2) _checkCreation(step);
        if (_isCall(opcode)) _checkAccess(step, next, address(uint160(step.stack[1])));
        if (opcode == EXTCODESIZE || opcode == EXTCODECOPY || opcode == EXTCODEHASH) {
            _checkAccess(step, next, address(uint160(step.stack[0])));
        }
        if (opcode == SLOAD || opcode == SSTORE || opcode == TLOAD || opcode == TSTORE) _checkStorage(step);
    }

    /// OP-031: the factory makes the account, once, and nothing else.
    function _checkCreation(Vm.DebugStep memory step) private {
        address created =
            vm.computeCreate2Address(bytes32(step.stack[3]), keccak256(step.memoryInput), step.contractAddr);
        _phase.creations++;
        if (!_phase.deploys || _phase.creations > 1 || created != account) _violation("OP-031", step);
    }

    function _checkAccess(Vm.DebugStep memory step, Vm.DebugStep memory next, address target) private {
        if (target == address(entryPoint)) {
            bool asksForCode = step.opcode == EXTCODESIZE && next.opcode == ISZERO;
            if (!asksForCode && !_isDeposit(step)) _violation("OP-054", step);
            return;
        }
        bool isCore = target > address(0) && target <= address(9);
        if (!isCore && target.code.length == 0 && target <= address(0x1ff)) {
            _violation("OP-062", step);
        } else if (!isCore && target.code.length == 0 && !(_phase.deploys && target == account)) {
            _violation("OP-041", step);
        }
        if ((step.opcode == CALL || step.opcode == CALLCODE) && step.stack[2] != 0) _violation("OP-061", step);
    }

    /// OP-052 and OP-053: the account pays the EntryPoint, or somebody deposits for it.
    function _isDeposit(Vm.DebugStep memory step) private view returns (bool) {
        if (step.opcode != CALL) return false;
        if (step.memoryInput.length == 0) return step.contractAddr == account;
        return (step.contractAddr == account || step.contractAddr == _factory)
            && keccak256(step.memoryInput) == keccak256(abi.encodeCall(IEntryPointStake.depositTo, (account)));
    }

    function _checkStorage(Vm.DebugStep memory step) private {
        address at = step.contractAddr;
        if (at == account) return; // STO-010
        if (at == _factory || at == paymaster) {
            if (at != _phase.entity || !_phase.staked) _violation("STO-031", step);
            return;
        }
        uint256 slot = step.stack[0];
        bool reads = step.opcode == SLOAD || step.opcode == TLOAD;
        if (_phase.staked && (reads || _isAssociated(slot, _phase.entity))) return; // STO-032, STO-033
        if (!_isAssociated(slot, account)) _violation("STO-021", step);
        else if (_factory != address(0) && !_isStaked(_factory)) _violation("STO-022", step);
    }

    /// The slot whose number is the address, or keccak256(address ++ anything), and the slots right after it.
    function _isAssociated(uint256 slot, address who) private view returns (bool) {
        if (slot == uint160(who)) return true;
        for (uint256 i = 0; i < _hashes.length; i++) {
            if (_hashed[i] == who && slot >= _hashes[i] && slot - _hashes[i] <= ASSOCIATED_SLOTS) return true;
        }
        return false;
    }

    function _remember(bytes memory preimage) private {
        uint256 first = uint256(bytes32(preimage));
        if (preimage.length < 32 || first > type(uint160).max) return;
        _hashed.push(address(uint160(first)));
        _hashes.push(uint256(keccak256(preimage)));
    }

    function _isStaked(address who) private view returns (bool staked) {
        (, staked,,,) = IStake(address(entryPoint)).getDepositInfo(who);
    }

    function _isBanned(uint8 opcode) private pure returns (bool) {
        for (uint256 i = 0; i < BANNED.length; i++) {
            if (uint8(BANNED[i]) == opcode) return true;
        }
        return false;
    }

    function _isCall(uint8 opcode) private pure returns (bool) {
        return opcode == CALL || opcode == CALLCODE || opcode == DELEGATECALL || opcode == STATICCALL;
    }

    /// Of Cancun.
    function _isAssigned(uint8 opcode) private pure returns (bool) {
        if (opcode <= 0x20) return opcode <= 0x0b || (opcode >= 0x10 && opcode <= 0x1d) || opcode == KECCAK256;
        if (opcode <= 0xa4) return opcode >= 0x50 || (opcode >= 0x30 && opcode <= 0x4a);
        return (opcode >= 0xf0 && opcode <= CREATE2) || opcode == STATICCALL || opcode >= 0xfd;
    }

    function _violation(string memory rule, Vm.DebugStep memory step) private {
        string memory opcode = vm.toString(abi.encodePacked(step.opcode));
        _violations.push(string.concat(rule, ": ", opcode, " at ", vm.toString(step.contractAddr)));
    }
}
