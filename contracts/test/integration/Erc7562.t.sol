// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC7579ModuleConfig} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {EntryPointV07Test} from "../utils/EntryPointV07Test.sol";
import {ValidationRules} from "../utils/ValidationRules.sol";

interface IStaking {
    function addStake(uint32 unstakeDelaySec) external payable;
}

abstract contract Erc7562Base is ValidationRules {
    Terms internal single;
    bytes internal terms;
    bytes32 internal grantId;

    function setUp() public virtual override {
        super.setUp();
        vm.deal(address(this), 2 ether);
        IStaking(paymaster).addStake{value: 1 ether}(1 days);
        single = singleTerms();
        terms = pack(single);
        grantId = keccak256(abi.encode(block.chainid, module, account, uint64(0), keccak256(terms)));
    }

    function live() internal {
        assertTrue(handle(setUpOperation(single, 50e6)).success);
    }

    function assertClean(Inspection memory found) internal pure {
        assertTrue(found.accepted, "the EntryPoint takes it");
        assertGt(found.steps, 500, "steps");
        if (found.violations.length != 0) revert(found.violations[0]);
    }

    function assertBreaks(PackedUserOperation memory op, string memory rule, string memory opcode, address at)
        internal
    {
        Inspection memory found = inspect(op);
        assertEq(found.violations.length, 1, "violations");
        assertEq(found.violations[0], violation(rule, opcode, at));
    }

    function violation(string memory rule, string memory opcode, address at) internal pure returns (string memory) {
        return string.concat(rule, ": ", opcode, " at ", vm.toString(at));
    }
}

/// Validation of our operations, as a bundler that enforces ERC-7562 sees it. The same on each EntryPoint.
abstract contract Erc7562 is Erc7562Base {
    function test_validation_ofDeploymentAndGrantKeepsTheRules() public {
        Inspection memory found = inspect(setUpOperation(single, 50e6));
        assertClean(found);
        assertEq(found.phases, 3, "factory, account, paymaster");
        assertEq(usdc.allowance(account, address(module)), 50e6);
    }

    function test_validation_ofASettlementBySettlerKeepsTheRules() public {
        live();
        Inspection memory found = inspect(settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler));
        assertClean(found);
        assertEq(found.phases, 2, "account, paymaster");
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_validation_ofASettlementBySessionKeyKeepsTheRules() public {
        live();
        assertClean(inspect(settlement(terms, pack(claimOf(grantId, 3e6)), 7, sessionKey)));
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_validation_ofASettlementToSeveralPayeesFromTheReserveKeepsTheRules() public {
        live();
        Terms memory many = multiTerms();
        many.source = 1;
        vm.startPrank(account);
        bytes32 id = module.grant(many);
        usdc.approve(address(module.reserve()), 10e6);
        module.reserve().deposit(account, address(usdc), 10e6);
        vm.stopPrank();
        bytes memory claims = bytes.concat(pack(claimOf(id, payee, 3e6)), pack(claimOf(id, otherPayee, 4e6)));
        assertClean(inspect(settlement(pack(many), claims, 0, settler)));
        assertEq(usdc.balanceOf(payee), 3e6);
        assertEq(usdc.balanceOf(otherPayee), 4e6);
    }

    function test_validation_ofAnOwnersOperationKeepsTheRules() public {
        live();
        assertClean(inspect(ownerOperation(address(usdc), abi.encodeCall(IERC20.transfer, (stranger, 1e6)))));
        assertEq(usdc.balanceOf(stranger), 1e6);
    }

    function test_validation_withoutAStakeOfThePaymasterReadsItsSigner() public {
        live();
        paymaster = vm.deployCode("SponsorPaymaster.sol", abi.encode(entryPoint, address(this), sponsor.addr));
        entryPoint.depositTo{value: 1 ether}(paymaster);
        assertBreaks(settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler), "STO-031", "0x54", paymaster);
    }
}

contract Erc7562OnEntryPointV08Test is Erc7562 {}

contract Erc7562OnEntryPointV07Test is EntryPointV07Test, Erc7562 {
    function setUp() public override(EntryPointV07Test, Erc7562Base) {
        super.setUp();
    }
}

/// The same of an EOA that delegates to our account code.
/// forge-config: default.evm_version = "prague"
contract Erc7562OfDelegatedAccountsTest is Erc7562Base {
    function setUp() public override {
        super.setUp();
        account = owner.addr;
        grantId = keccak256(abi.encode(block.chainid, module, account, uint64(0), keccak256(terms)));
        usdc.mint(account, FUNDS);
        vm.signAndAttachDelegation(vm.deployCode("StreamAccount7702.sol", abi.encode(entryPoint)), owner.secret);
        factory.getAddress(owner.addr, 0); // Any call carries the delegation.
        assertEq(account.code.length, 23);
    }

    function test_validation_ofAGrantAndASettlementKeepsTheRules() public {
        PackedUserOperation memory op = operation(setUpOperation(single, 50e6).callData, nonceOf(address(0), 0));
        op.initCode = hex"7702";
        assertClean(inspect(signed(op, owner)));
        assertEq(usdc.allowance(account, address(module)), 50e6);
        assertClean(inspect(settlement(terms, pack(claimOf(grantId, 3e6)), 0, settler)));
        assertEq(usdc.balanceOf(payee), 3e6);
    }
}

/// A validator that breaks one rule is caught, so that the tests above mean something.
contract ValidationRulesTest is Erc7562Base {
    function test_inspector_passesAValidatorThatDoesNothing() public {
        assertClean(inspect(breaker("")));
    }

    function test_inspector_catchesAReadOfTheClock() public {
        assertBreaks(breaker(hex"4250"), "OP-011", "0x42");
    }

    function test_inspector_catchesEveryBannedOpcode() public {
        // INVALID and SELFDESTRUCT end the call, so they come alone; all others in one go.
        assertBreaks(breaker(hex"fe"), "OP-011", "0xfe");
        assertBreaks(breaker(hex"5fff"), "OP-011", "0xff");
        bytes memory code = "";
        string[] memory expected = new string[](BANNED.length - 2);
        uint256 count = 0;
        for (uint256 i = 0; i < BANNED.length; i++) {
            bytes memory opcode = abi.encodePacked(BANNED[i]);
            if (BANNED[i] == 0xfe || BANNED[i] == 0xff) continue;
            code = bytes.concat(code, hex"5f5f5f", opcode);
            expected[count++] = violation("OP-011", vm.toString(opcode), makeAddr("breaker"));
        }
        Inspection memory found = inspect(breaker(code));
        assertTrue(found.accepted);
        assertEq(found.violations, expected);
    }

    function test_inspector_catchesAReadOfAForeignSlot() public {
        assertBreaks(breaker(hex"5f54"), "STO-021", "0x54");
        assertBreaks(breaker(mappingSlot(stranger, hex"", hex"54")), "STO-021", "0x54");
    }

    function test_inspector_passesTheAccountsSlotsAndWhatFollowsThem() public {
        assertClean(inspect(breaker(mappingSlot(account, hex"", hex"54"))));
        assertClean(inspect(breaker(mappingSlot(account, hex"608001", hex"54"))));
        assertBreaks(breaker(mappingSlot(account, hex"608101", hex"54")), "STO-021", "0x54");
        assertClean(inspect(breaker(abi.encodePacked(hex"73", account, hex"54"))));
    }

    function test_inspector_catchesWritesAndTransientStorage() public {
        assertBreaks(breaker(hex"5f5f55"), "STO-021", "0x55");
        assertBreaks(breaker(hex"5f5c"), "STO-021", "0x5c");
        assertBreaks(breaker(hex"5f5f5d"), "STO-021", "0x5d");
    }

    function test_inspector_catchesGasThatIsNotPassedOn() public {
        assertBreaks(breaker(hex"5a"), "OP-012", "0x5a");
        assertClean(inspect(breaker(staticCall(address(usdc)))));
    }

    function test_inspector_catchesBalances() public {
        assertBreaks(breaker(hex"3031"), "OP-080", "0x31");
        assertBreaks(breaker(hex"47"), "OP-080", "0x47");
    }

    function test_inspector_catchesAddressesWithoutCode() public {
        assertBreaks(breaker(staticCall(stranger)), "OP-041", "0xfa");
        assertBreaks(breaker(abi.encodePacked(hex"73", stranger, hex"3b")), "OP-041", "0x3b");
    }

    function test_inspector_catchesValueCallsOfTheEntryPointAndOtherPrecompiles() public {
        assertBreaks(breaker(abi.encodePacked(hex"5f5f5f5f600173", address(usdc), hex"5af1")), "OP-061", "0xf1");
        assertBreaks(breaker(staticCall(address(entryPoint))), "OP-054", "0xfa");
        assertBreaks(breaker(staticCall(address(10))), "OP-062", "0xfa");
        assertClean(inspect(breaker(staticCall(address(4)))));
    }

    function test_inspector_catchesCreations() public {
        assertBreaks(breaker(hex"5f5f5f5ff5"), "OP-031", "0xf5");
    }

    function test_inspector_catchesUnassignedOpcodes() public {
        assertBreaks(breaker(hex"0c"), "OP-013", "0x0c");
    }

    function test_inspector_catchesRunningOutOfGas() public {
        // Calls itself with 100 gas, which does not last for the same call once more.
        Inspection memory found = inspect(breaker(hex"5f5f5f5f306064fa"));
        assertEq(found.violations.length, 1);
        assertTrue(vm.contains(found.violations[0], "OP-020"));
    }

    /// A sponsored operation, validated by a module whose code is `code` and then "valid".
    function breaker(bytes memory code) internal returns (PackedUserOperation memory op) {
        if (account.code.length == 0) live();
        address validator = makeAddr("breaker");
        if (!IERC7579ModuleConfig(account).isModuleInstalled(1, validator, "")) {
            vm.etch(validator, hex"60015f5260205ff3"); // returns 1: yes, a validator
            vm.prank(account);
            IERC7579ModuleConfig(account).installModule(1, validator, "");
        }
        vm.etch(validator, bytes.concat(code, hex"5f5f5260205ff3")); // returns 0
        return signed(operation(executionOf(stranger, 0, ""), nonceOf(validator, 0)), owner);
    }

    /// Loads or stores keccak256(who ++ 0), changed by `change`.
    function mappingSlot(address who, bytes memory change, bytes memory opcode) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"73", who, hex"5f5260405f20", change, opcode);
    }

    function staticCall(address target) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"5f5f5f5f73", target, hex"5afa");
    }

    function assertBreaks(PackedUserOperation memory op, string memory rule, string memory opcode) internal {
        assertBreaks(op, rule, opcode, makeAddr("breaker"));
    }
}
