// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";
import {IPrepaidReserve} from "../../src/interfaces/IPrepaidReserve.sol";
import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";

/// For proofs with halmos (contracts/script/symbolic.sh). A `check_` function holds for all its arguments; and because
/// the storage of module, reserve and token is arbitrary, also after every history: each proof is the step of an
/// induction. What is proven is the code that is deployed, as the compiler makes it.
///
/// What is taken for granted: keccak256 has no collisions; ecrecover is some function; the token is TestUSDC, and nobody
/// has 2^128 of it. Proofs have at most one element, a call at most two claims.
abstract contract SymbolicTest is Test {
    struct Claim {
        address payee;
        uint96 amount;
        uint128 cumulativeAmount;
        bytes32 r;
        bytes32 yParityAndS;
    }

    // The last part of a claim: of a single payee, and of one that was paid before.
    bytes internal constant SINGLE = hex"00";
    bytes internal constant KNOWN = hex"ff";

    ISessionKeyValidator internal module;
    IPrepaidReserve internal reserve;
    TestUSDC internal usdc;

    function setUp() public {
        module = ISessionKeyValidator(deployCode("SessionKeyValidator.sol:SessionKeyValidator"));
        reserve = module.reserve();
        usdc = new TestUSDC();
    }

    /// Any state, at any moment.
    function anyState(uint64 time) internal {
        vm.warp(time);
        vm.setArbitraryStorage(address(module));
        vm.setArbitraryStorage(address(reserve));
        vm.setArbitraryStorage(address(usdc));
    }

    function pack(Terms memory terms) internal pure returns (bytes memory) {
        return abi.encodePacked(
            abi.encodePacked(terms.sessionKey, terms.settler, terms.token, terms.totalLimit, terms.periodLimit),
            abi.encodePacked(terms.period, terms.validAfter, terms.validUntil, terms.payeeRoot, terms.source),
            terms.salt
        );
    }

    function pack(Claim memory claim, bytes memory proof) internal pure returns (bytes memory) {
        return abi.encodePacked(claim.payee, claim.amount, claim.cumulativeAmount, claim.r, claim.yParityAndS, proof);
    }

    function oneElement(bytes32 element) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(1), element);
    }

    function idOf(address account, uint64 epoch, bytes memory packed) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(module), account, epoch, keccak256(packed)));
    }
}
