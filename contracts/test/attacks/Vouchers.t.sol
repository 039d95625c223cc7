// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Attacks with vouchers that were good once, and with payees that a grant does not allow.
contract VoucherAttacksTest is StreamTest {
    bytes32 internal grantId;
    bytes internal terms;
    /// A grant to eight payees, the levels of its tree from the leaves up, and who they are.
    bytes32 internal treeId;
    bytes internal treeTerms;
    bytes32[][] internal levels;
    address[8] internal payees;

    function setUp() public override {
        super.setUp();
        (grantId, terms) = grant(singleTerms());
        levels.push(new bytes32[](8));
        for (uint256 i = 0; i < 8; i++) {
            payees[i] = makeAddr(string.concat("payee ", vm.toString(i)));
            levels[0][i] = leaf(payees[i]);
        }
        for (uint256 level = 0; level < 3; level++) {
            levels.push(new bytes32[](levels[level].length / 2));
            for (uint256 i = 0; i < levels[level + 1].length; i++) {
                levels[level + 1][i] = node(levels[level][2 * i], levels[level][2 * i + 1]);
            }
        }
        Terms memory tree = singleTerms();
        tree.payeeRoot = levels[3][0];
        (treeId, treeTerms) = grant(tree);
    }

    // ---------------------------------------------------------------------------------------------------- replay

    function test_attack_replayedOlderAndEqualVouchersPayNothing() public {
        assertEq(module.settle(account, terms, pack(claimOf(grantId, 3e6))), 3e6);
        bytes memory newest = pack(claimOf(grantId, 5e6));
        assertEq(module.settle(account, terms, newest), 2e6);
        uint96[4] memory amounts = [uint96(5e6), 3e6, 1, 0];
        for (uint256 i = 0; i < amounts.length; i++) {
            expectSkipped(grantId, payee, ISessionKeyValidator.NothingDue.selector);
            assertEq(module.settle(account, terms, pack(claimOf(grantId, amounts[i]))), 0);
        }
        // Nor does part of a newer voucher below what was paid.
        expectSkipped(grantId, payee, ISessionKeyValidator.NothingDue.selector);
        module.settle(account, terms, pack(claimOf(grantId, payee, 4e6, 9e6, new bytes32[](0))));
        assertEq(usdc.balanceOf(payee), 5e6);
    }

    function testFuzz_attack_claimAboveTheVoucherPaysNothing(uint96 voucher, uint96 excess) public {
        voucher = uint96(bound(voucher, 0, 99e6));
        excess = uint96(bound(excess, 1, 100e6 - voucher));
        bytes32[] memory none = new bytes32[](0);
        expectSkipped(grantId, payee, ISessionKeyValidator.AmountAboveVoucher.selector);
        assertEq(module.settle(account, terms, pack(claimOf(grantId, payee, voucher + excess, voucher, none))), 0);
        // Nor one that says the voucher was higher.
        Claim memory claim = claimOf(grantId, payee, voucher + excess, voucher, none);
        claim.cumulativeAmount = voucher + excess;
        expectSkipped(grantId, payee, ISessionKeyValidator.InvalidSignature.selector);
        assertEq(module.settle(account, terms, pack(claim)), 0);
    }

    function test_attack_voucherOf128BitsPaysWhatThe96BitsOfTheClaimSay() public {
        bytes32[] memory none = new bytes32[](0);
        uint128 beyond = uint128(type(uint96).max) + 1 + 5e6;
        assertEq(module.settle(account, terms, pack(claimOf(grantId, payee, 3e6, beyond, none))), 3e6);
        expectSkipped(grantId, payee, ISessionKeyValidator.TotalLimitExceeded.selector);
        module.settle(account, terms, pack(claimOf(grantId, payee, type(uint96).max, type(uint128).max, none)));
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_attack_onePayeeManyTimesInOneCallIsPaidItsHighestVoucherOnce() public {
        bytes memory claims = "";
        for (uint96 i = 1; i <= 5; i++) {
            claims = bytes.concat(claims, pack(treeClaim(2, i * 1e6)), pack(treeClaim(2, i * 1e6)));
            claims = bytes.concat(claims, pack(treeClaim(2, 1e6)), packKnown(treeClaim(2, i * 1e6)));
        }
        assertEq(module.settle(account, treeTerms, claims), 5e6);
        assertEq(usdc.balanceOf(payees[2]), 5e6);
        assertEq(module.settle(account, treeTerms, claims), 0);
    }

    function test_attack_singlePayeeClaimsCannotBeListed() public {
        bytes memory one = pack(claimOf(grantId, 3e6));
        bytes[4] memory lists = [
            bytes.concat(one, one),
            bytes.concat(packKnown(claimOf(grantId, 3e6)), one),
            bytes.concat(pack(treeClaim(0, 1e6)), one),
            bytes.concat(one, packKnown(claimOf(grantId, 3e6)))
        ];
        uint256[4] memory offsets = [uint256(0), 113, 209, 0];
        for (uint256 i = 0; i < lists.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedClaims.selector, offsets[i]));
            module.settle(account, terms, lists[i]);
        }
        assertEq(usdc.balanceOf(payee), 0);
    }

    // ---------------------------------------------------------------------------------------------------- known payees

    function test_attack_payeeThatWasNeverPaidIsNotKnown() public {
        expectUnknown(treeId, treeTerms, treeClaim(3, 1e6));
        module.settle(account, treeTerms, pack(treeClaim(3, 1e6)));
        assertEq(module.settle(account, treeTerms, packKnown(treeClaim(3, 2e6))), 1e6);
        expectUnknown(treeId, treeTerms, treeClaim(4, 1e6));
        // A stranger with a voucher of the session key neither.
        expectUnknown(treeId, treeTerms, claimOf(treeId, stranger, 1e6, 1e6, new bytes32[](0)));
    }

    function test_attack_payeeOfASinglePayeeGrantIsNotKnownInTheOtherForm() public {
        expectUnknown(grantId, terms, claimOf(grantId, 1e6));
        module.settle(account, terms, pack(claimOf(grantId, 1e6)));
        expectUnknown(grantId, terms, claimOf(grantId, 2e6));
        assertEq(usdc.balanceOf(payee), 1e6);
    }

    function test_attack_payeeKnownToAnotherGrantAccountOrEpochIsNotKnownHere() public {
        module.settle(account, treeTerms, pack(treeClaim(3, 1e6)));
        Terms memory again = singleTerms();
        (again.payeeRoot, again.salt) = (levels[3][0], bytes24("again"));
        (bytes32 id, bytes memory packed) = grant(again);
        bytes32[] memory none = new bytes32[](0);
        expectUnknown(id, packed, claimOf(id, payees[3], 1e6, 1e6, none));

        vm.prank(guardian);
        module.revokeAll(account);
        (again.payeeRoot, again.salt) = (levels[3][0], 0);
        (id, packed) = grant(again);
        assertEq(packed, treeTerms);
        expectUnknown(id, packed, claimOf(id, payees[3], 2e6, 2e6, none));
    }

    function test_attack_payeeWhosePaymentWasUndoneIsNotKnown() public {
        usdc.setBlocked(payees[3], true);
        module.settle(account, treeTerms, pack(treeClaim(3, 1e6)));
        usdc.setBlocked(payees[3], false);
        expectUnknown(treeId, treeTerms, treeClaim(3, 1e6));
    }

    function test_attack_proofLengthsBetweenTheFormsAreMalformed() public {
        module.settle(account, treeTerms, pack(treeClaim(3, 1e6)));
        bytes memory claim = packKnown(treeClaim(3, 2e6));
        for (uint256 length = 33; length < 255; length++) {
            claim[112] = bytes1(uint8(length));
            // The bytes of so long a proof are there.
            bytes memory claims = bytes.concat(claim, new bytes(32 * length));
            vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedClaims.selector, 0));
            module.settle(account, treeTerms, claims);
        }
        // A known payee brings no proof: what follows is the next claim, and this is none.
        claim[112] = 0xff;
        vm.expectRevert(abi.encodeWithSelector(ISessionKeyValidator.MalformedClaims.selector, 113));
        module.settle(account, treeTerms, bytes.concat(claim, new bytes(32)));
    }

    // ---------------------------------------------------------------------------------------------------- Merkle proofs

    function test_merkle_everyPayeeOfTheTreeIsPaid() public {
        for (uint256 i = 0; i < 8; i++) {
            assertEq(module.settle(account, treeTerms, pack(treeClaim(i, 1e6))), 1e6);
        }
    }

    /// Nobody's address hashes to an inner node, whatever part of a proof comes with it.
    function test_attack_innerNodeAsALeafIsNoPayee() public {
        for (uint256 level = 1; level < 4; level++) {
            for (uint256 i = 0; i < levels[level].length; i++) {
                bytes32 inner = levels[level][i];
                address[3] memory fakes =
                    [address(bytes20(inner)), address(uint160(uint256(inner))), address(uint160(uint256(inner) >> 96))];
                for (uint256 fake = 0; fake < fakes.length; fake++) {
                    for (uint256 from = 0; from <= level; from++) {
                        expectNoPayee(fakes[fake], proofFrom(i, level, from));
                    }
                }
            }
        }
    }

    /// A second preimage of the root: any list of the tree's own hashes, in any order, with any address.
    function testFuzz_attack_proofMadeOfTheTreesNodesPaysNobodyElse(
        address who,
        uint256[8] memory picks,
        uint256 length
    ) public {
        for (uint256 i = 0; i < payees.length; i++) {
            vm.assume(who != payees[i]);
        }
        bytes32[] memory proof = new bytes32[](bound(length, 1, 8));
        for (uint256 i = 0; i < proof.length; i++) {
            uint256 level = picks[i] % 4;
            proof[i] = levels[level][(picks[i] >> 8) % levels[level].length];
        }
        expectNoPayee(who, proof);
    }

    function test_attack_proofOfAnotherPayeeOrALongerOrShorterOnePaysNothing() public {
        bytes32[] memory right = proofFrom(3, 0, 0);
        for (uint256 i = 0; i < 8; i++) {
            if (i != 3) expectNoPayee(payees[3], proofFrom(i, 0, 0));
        }
        bytes32[] memory shorter = new bytes32[](2);
        (shorter[0], shorter[1]) = (right[0], right[1]);
        expectNoPayee(payees[3], shorter);
        bytes32[] memory longer = new bytes32[](4);
        (longer[0], longer[1], longer[2], longer[3]) = (right[0], right[1], right[2], levels[3][0]);
        expectNoPayee(payees[3], longer);
        for (uint256 i = 0; i < right.length; i++) {
            bytes32[] memory changed = proofFrom(3, 0, 0);
            changed[i] ^= bytes32(uint256(1));
            expectNoPayee(payees[3], changed);
        }
    }

    /// A leaf is a hash of a hash: neither the single hash nor the address itself is one.
    function test_attack_grantWhoseRootIsNoLeafOfAnAddressPaysNobodyAlone() public {
        bytes32[3] memory roots = [keccak256(abi.encode(payee)), bytes32(uint256(uint160(payee))), levels[3][0]];
        for (uint256 i = 0; i < roots.length; i++) {
            Terms memory odd = singleTerms();
            (odd.payeeRoot, odd.salt) = (roots[i], bytes24("odd"));
            (bytes32 id, bytes memory packed) = grant(odd);
            expectSkipped(id, payee, ISessionKeyValidator.InvalidProof.selector);
            assertEq(module.settle(account, packed, pack(claimOf(id, 1e6))), 0);
        }
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function treeClaim(uint256 index, uint96 amount) internal view returns (Claim memory) {
        return claimOf(treeId, payees[index], amount, amount, proofFrom(index, 0, 0));
    }

    /// The proof of the node `index` of `level`, from the level `from` levels higher on.
    function proofFrom(uint256 index, uint256 level, uint256 from) internal view returns (bytes32[] memory proof) {
        uint256 start = level + from < 3 ? level + from : 3;
        proof = new bytes32[](3 - start);
        index >>= start - level;
        for (uint256 i = 0; i < proof.length; i++) {
            proof[i] = levels[start + i][index ^ 1];
            index /= 2;
        }
    }

    function packKnown(Claim memory claim) internal pure returns (bytes memory) {
        return abi.encodePacked(claim.payee, claim.amount, claim.cumulativeAmount, claim.signature, uint8(0xff));
    }

    function expectUnknown(bytes32 id, bytes memory packed, Claim memory claim) internal {
        expectSkipped(id, claim.payee, ISessionKeyValidator.InvalidProof.selector);
        assertEq(module.settle(account, packed, packKnown(claim)), 0);
    }

    function expectNoPayee(address who, bytes32[] memory proof) internal {
        uint256 before = usdc.balanceOf(who);
        expectSkipped(treeId, who, ISessionKeyValidator.InvalidProof.selector);
        assertEq(module.settle(account, treeTerms, pack(claimOf(treeId, who, 1e6, 1e6, proof))), 0);
        assertEq(usdc.balanceOf(who), before);
    }
}
