// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ISessionKeyValidator, Settlement, Stop, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {FiatToken, FiatTokenProxy} from "../mocks/FiatToken.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {EntryPointTest} from "../utils/EntryPointTest.sol";

/// What whole transactions cost, each in a transaction of its own: 21,000, call data and refunds are in it. Later
/// settlements: nonce keys, grants' slots and payees' balances are in use, as they are all but once.
/// Figures that differ from those in contracts/gas fail; `npm run gas` writes them anew.
abstract contract GasTest is EntryPointTest {
    struct Live {
        address account;
        bytes32 grantId;
        bytes terms;
    }

    uint256 internal constant PAYEES = 16;

    function test_gas_deployInstallApproveGrant() public {
        handle(setUpOperation(singleTerms(), 50e6));
        record("deploy, install, approve, grant");
    }

    function test_gas_settlementAlone() public {
        Live memory one = live(0);
        handle(settlement(one.terms, claims(one, 2e6), 0, settler));
        record("user operation: 1 account");
    }

    function test_gas_firstSettlement() public {
        handle(setUpOperation(singleTerms(), 50e6));
        Live memory one = liveOf(singleTerms());
        handle(settlement(one.terms, claims(one, 1e6), 0, settler));
        record("user operation: 1 account, first settlement");
    }

    function test_gas_settlementsInABundleOf10() public {
        Live[] memory all = lives(10);
        PackedUserOperation[] memory ops = new PackedUserOperation[](10);
        for (uint256 i = 0; i < ops.length; i++) {
            useAccount(bytes32(i));
            ops[i] = settlement(all[i].terms, claims(all[i], 2e6), 0, settler);
        }
        handle(ops);
        record("user operations: 10 accounts in a bundle");
    }

    function test_gas_settleDirectly() public {
        Live memory one = live(0);
        bytes memory packed = claims(one, 2e6);
        vm.prank(stranger);
        module.settle(account, one.terms, packed);
        record("settle: 1 payee");
    }

    function test_gas_firstSettleDirectly() public {
        handle(setUpOperation(singleTerms(), 50e6));
        Live memory one = liveOf(singleTerms());
        bytes memory packed = claims(one, 1e6);
        vm.prank(stranger);
        module.settle(account, one.terms, packed);
        record("settle: 1 payee, first settlement");
    }

    function test_gas_settleFromTheReserve() public {
        Terms memory prepaid = singleTerms();
        prepaid.source = 1;
        handle(setUpOperation(prepaid, 50e6));
        usdc.mint(stranger, 50e6);
        vm.startPrank(stranger);
        usdc.approve(address(module.reserve()), 50e6);
        module.reserve().deposit(account, address(usdc), 50e6);
        vm.stopPrank();
        Live memory one = liveOf(prepaid);
        handle(settlement(one.terms, claims(one, 1e6), 0, settler));
        handle(settlement(one.terms, claims(one, 2e6), 0, settler));
        record("user operation: 1 account, from the reserve");
    }

    function test_gas_settle5Payees() public {
        settlePayees(5);
    }

    function test_gas_settle10Payees() public {
        settlePayees(10);
    }

    function test_gas_settleMany1() public {
        settleMany(1);
    }

    function test_gas_settleMany10() public {
        settleMany(10);
    }

    function test_gas_settleMany50() public {
        settleMany(50);
    }

    function test_gas_freeze() public {
        Live memory one = live(0);
        vm.prank(guardian);
        module.freeze(account, one.grantId);
        record("freeze");
    }

    function test_gas_freezeMany10() public {
        stopMany(10, false);
    }

    function test_gas_freezeMany50() public {
        stopMany(50, false);
    }

    function test_gas_revokeMany10() public {
        stopMany(10, true);
    }

    function record(string memory name) internal {
        vm.snapshotValue(tokenName(), name, vm.lastCallGas().gasTotalUsed);
    }

    /// Names the file that the figures are in.
    function tokenName() internal pure virtual returns (string memory);

    // ---------------------------------------------------------------------------------------------------- transactions

    function settleMany(uint256 count) private {
        Live[] memory all = lives(count);
        Settlement[] memory settlements = new Settlement[](count);
        for (uint256 i = 0; i < count; i++) {
            settlements[i] = Settlement(all[i].account, all[i].terms, claims(all[i], 2e6));
        }
        vm.prank(stranger);
        module.settleMany(settlements);
        record(string.concat("settleMany: accounts: ", vm.toString(count)));
    }

    function stopMany(uint256 count, bool revokes) private {
        Live[] memory all = lives(count);
        Stop[] memory stops = new Stop[](count);
        for (uint256 i = 0; i < count; i++) {
            stops[i] = Stop(all[i].account, all[i].grantId, revokes);
        }
        vm.prank(guardian);
        module.stopMany(stops);
        record(string.concat(revokes ? "revoke" : "freeze", " by stopMany: accounts: ", vm.toString(count)));
    }

    function settlePayees(uint256 count) private {
        handle(setUpOperation(singleTerms(), 50e6));
        bytes32[] memory leaves = new bytes32[](PAYEES);
        for (uint160 i = 0; i < PAYEES; i++) {
            leaves[i] = leaf(address(i + 1000));
        }
        Terms memory many = singleTerms();
        (many.payeeRoot,) = climb(leaves, 0);
        Live memory grantToMany = liveOf(many);
        handle(ownerOperation(address(module), abi.encodeCall(ISessionKeyValidator.grant, (many))));
        handle(settlement(grantToMany.terms, firstClaims(grantToMany.grantId, leaves, count), 0, settler));
        handle(settlement(grantToMany.terms, laterClaims(grantToMany.grantId, count), 0, settler));
        record(string.concat("user operation: payees: ", vm.toString(count)));
    }

    // ---------------------------------------------------------------------------------------------------- preparations

    function lives(uint256 count) private returns (Live[] memory all) {
        all = new Live[](count);
        for (uint256 i = 0; i < count; i++) {
            all[i] = live(bytes32(i));
        }
    }

    /// An account that has settled once. `account` is it from now on.
    function live(bytes32 salt) private returns (Live memory one) {
        useAccount(salt);
        if (salt != 0) usdc.mint(account, FUNDS);
        handle(setUpOperation(singleTerms(), 50e6));
        one = liveOf(singleTerms());
        handle(settlement(one.terms, claims(one, 1e6), 0, settler));
    }

    function liveOf(Terms memory terms) private view returns (Live memory) {
        bytes memory packed = pack(terms);
        return Live(account, module.grantIdOf(account, packed), packed);
    }

    function claims(Live memory one, uint96 amount) private view returns (bytes memory) {
        return pack(claimOf(one.grantId, amount));
    }

    /// With proofs.
    function firstClaims(bytes32 id, bytes32[] memory leaves, uint256 count) private view returns (bytes memory all) {
        for (uint160 i = 0; i < count; i++) {
            (, bytes32[] memory proof) = climb(leaves, i);
            all = bytes.concat(all, pack(claimOf(id, address(i + 1000), 1e6, 1e6, proof)));
        }
    }

    /// Of payees that were paid before.
    function laterClaims(bytes32 id, uint256 count) private view returns (bytes memory all) {
        for (uint160 i = 0; i < count; i++) {
            bytes memory claim = pack(claimOf(id, address(i + 1000), 2e6, 2e6, new bytes32[](0)));
            claim[112] = 0xff;
            all = bytes.concat(all, claim);
        }
    }

    /// The root of the leaves, and the proof of one of them.
    function climb(bytes32[] memory leaves, uint256 index) private pure returns (bytes32, bytes32[] memory proof) {
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

/// forge-config: default.isolate = true
contract GasOfTestUsdcTest is GasTest {
    function tokenName() internal pure override returns (string memory) {
        return "TestUSDC";
    }
}

/// forge-config: default.isolate = true
contract GasOfFiatTokenTest is GasTest {
    function setUp() public override {
        usdc = TestUSDC(payable(address(new FiatTokenProxy(address(new FiatToken()), makeAddr("token admin")))));
        super.setUp();
    }

    function tokenName() internal pure override returns (string memory) {
        return "FiatToken";
    }
}
