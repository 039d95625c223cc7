// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

/// What whole transactions cost, each in a transaction of its own. The bounds are a little above the figures, so that a
/// change that makes settling dearer is noticed; `forge test -vv --mc GasTest` prints them.
/// forge-config: default.isolate = true
contract GasTest is EntryPointTest {
    bytes32 internal grantId;
    bytes internal terms;

    function setUp() public override {
        super.setUp();
        Terms memory granted = singleTerms();
        terms = pack(granted);
        grantId = keccak256(abi.encode(block.chainid, module, account, uint64(0), keccak256(terms)));
    }

    function test_gas_deployInstallApproveGrant() public {
        handle(setUpOperation(singleTerms(), 50e6));
        check("deploy, install, approve, grant", 390_000);
    }

    function test_gas_settlementAlone() public {
        live();
        handle(settlement(terms, pack(claimOf(grantId, 2e6)), 0, settler));
        check("settlement alone, later one", 155_000);
    }

    function test_gas_settlementsInABundleOf10() public {
        // Ten lanes of one account stand for ten accounts: cheaper by what the accounts' cold slots would cost.
        live();
        PackedUserOperation[] memory ops = new PackedUserOperation[](10);
        for (uint32 lane = 0; lane < ops.length; lane++) {
            ops[lane] = settlement(terms, pack(claimOf(grantId, 2e6)), lane, settler);
        }
        handle(ops);
        for (uint32 lane = 0; lane < ops.length; lane++) {
            ops[lane] = settlement(terms, pack(claimOf(grantId, 3e6 + lane)), lane, settler);
        }
        handle(ops);
        check("10 settlements in a bundle", 840_000);
    }

    function test_gas_settleDirectly() public {
        live();
        bytes memory claims = pack(claimOf(grantId, 2e6));
        vm.prank(stranger);
        module.settle(account, terms, claims);
        check("settle, called directly", 74_000);
    }

    function test_gas_settle10Payees() public {
        live();
        (bytes32 id, bytes memory packed, bytes32[] memory layer) = grantTo16();
        handle(settlement(packed, claimsOf16(id, layer, 1e6), 0, settler));
        handle(settlement(packed, claimsOf16(id, layer, 2e6), 0, settler));
        check("settlement of 10 payees, later one", 480_000);
    }

    function test_gas_freeze() public {
        live();
        vm.prank(guardian);
        module.freeze(account, grantId);
        check("freeze", 35_000);
    }

    /// Sets up and settles once, so that the nonce key, the grant's slot and the payee's balance are in use.
    function live() internal {
        handle(setUpOperation(singleTerms(), 50e6));
        handle(settlement(terms, pack(claimOf(grantId, 1e6)), 0, settler));
    }

    function check(string memory name, uint256 bound) internal {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        emit log_named_uint(name, gas);
        assertLt(gas, bound);
    }

    /// A grant to 16 payees, and the leaves of its tree.
    function grantTo16() internal returns (bytes32 id, bytes memory packed, bytes32[] memory leaves) {
        leaves = new bytes32[](16);
        for (uint160 i = 0; i < 16; i++) {
            leaves[i] = leaf(address(i + 1000));
        }
        Terms memory many = singleTerms();
        (many.payeeRoot,) = climb(leaves, 0);
        packed = pack(many);
        id = module.grantIdOf(account, packed);
        handle(ownerOperation(address(module), abi.encodeCall(ISessionKeyValidator.grant, (many))));
    }

    /// Claims of the first 10 of them.
    function claimsOf16(bytes32 id, bytes32[] memory leaves, uint96 amount)
        internal
        view
        returns (bytes memory claims)
    {
        for (uint160 i = 0; i < 10; i++) {
            (, bytes32[] memory proof) = climb(leaves, i);
            claims = bytes.concat(claims, pack(claimOf(id, address(i + 1000), amount, amount, proof)));
        }
    }

    /// The root of 16 leaves, and the proof of one of them.
    function climb(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32, bytes32[] memory proof) {
        bytes32[] memory layer = leaves;
        proof = new bytes32[](4);
        for (uint256 level = 0; level < 4; level++) {
            proof[level] = layer[index ^ 1];
            bytes32[] memory next = new bytes32[](layer.length / 2);
            for (uint256 i = 0; i < next.length; i++) {
                next[i] = node(layer[2 * i], layer[2 * i + 1]);
            }
            (layer, index) = (next, index / 2);
        }
        return (layer[0], proof);
    }
}
