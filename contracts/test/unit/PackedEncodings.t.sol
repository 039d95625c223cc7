// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC7579Execution} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {Test} from "forge-std/Test.sol";
import {ISessionKeyValidator, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {Claims} from "../../src/libraries/Claims.sol";
import {GrantTerms} from "../../src/libraries/GrantTerms.sol";
import {SettleCall} from "../../src/libraries/SettleCall.sol";

/// The libraries' functions take calldata, which only an external call has.
contract Libraries {
    using Claims for bytes;
    using GrantTerms for bytes;

    struct Claim {
        address payee;
        uint96 amount;
        uint128 cumulativeAmount;
        bytes32 r;
        bytes32 yParityAndS;
        bool single;
        bool knownPayee;
        bytes32 root;
    }

    function pack(Terms calldata terms) external pure returns (bytes memory) {
        return GrantTerms.pack(terms);
    }

    function unpack(bytes calldata packed) external pure returns (Terms memory) {
        return Terms({
            sessionKey: packed.sessionKey(),
            settler: packed.settler(),
            token: packed.token(),
            totalLimit: packed.totalLimit(),
            periodLimit: packed.periodLimit(),
            period: packed.period(),
            validAfter: packed.validAfter(),
            validUntil: packed.validUntil(),
            payeeRoot: packed.payeeRoot(),
            source: packed.source(),
            salt: bytes24(packed[133:157])
        });
    }

    function hashOf(bytes calldata packed) external pure returns (bytes32) {
        return packed.hashOf();
    }

    function idOf(bytes32 packedHash, address module, address account, uint64 epoch) external view returns (bytes32) {
        return GrantTerms.idOf(packedHash, module, account, epoch);
    }

    function leafOf(address payee) external pure returns (bytes32) {
        return GrantTerms.leafOf(payee);
    }

    function areWellFormed(bytes calldata claims) external pure returns (bool) {
        return claims.areWellFormed();
    }

    function claimAt(bytes calldata claims, uint256 offset, bytes32 leaf)
        external
        pure
        returns (Claim memory, uint256)
    {
        bytes calldata claim = claims.sliceAt(offset);
        (bytes32 r, bytes32 yParityAndS) = claim.signature();
        return (
            Claim(
                claim.payee(),
                claim.amount(),
                claim.cumulativeAmount(),
                r,
                yParityAndS,
                claim.isSingle(),
                claim.isKnownPayee(),
                claim.rootFrom(leaf)
            ),
            claim.length
        );
    }

    function decode(bytes calldata callData, address module, address account)
        external
        pure
        returns (bool canonical, bytes memory terms, bytes memory claims)
    {
        return SettleCall.decode(callData, module, account);
    }
}

/// Every packed encoding against the plain one: what `abi.encode` and struct fields say.
contract PackedEncodingsTest is Test {
    Libraries private libraries = new Libraries();

    struct Plain {
        address payee;
        uint96 amount;
        uint128 cumulativeAmount;
        bytes32 r;
        bytes32 yParityAndS;
        uint8 kind;
        bytes32[] proof;
    }

    function testFuzz_terms_areReadAsTheyWerePacked(Terms calldata terms) public view {
        bytes memory packed = libraries.pack(terms);
        assertEq(packed.length, GrantTerms.SIZE);
        assertEq(abi.encode(libraries.unpack(packed)), abi.encode(terms));
    }

    function testFuzz_grantId_isTheHashOfThePlainEncoding(
        bytes calldata packed,
        address module,
        address account,
        uint64 epoch
    ) public view {
        assertEq(libraries.hashOf(packed), keccak256(packed));
        assertEq(
            libraries.idOf(keccak256(packed), module, account, epoch),
            keccak256(abi.encode(block.chainid, module, account, epoch, keccak256(packed)))
        );
    }

    function testFuzz_leaf_isHashedTwice(address payee) public view {
        assertEq(libraries.leafOf(payee), keccak256(abi.encode(keccak256(abi.encode(payee)))));
    }

    function testFuzz_claims_areReadAsTheyWerePacked(Plain[] calldata plain, bytes32 leaf) public view {
        vm.assume(plain.length > 0);
        uint256 count = 1 + plain.length % 3;
        bytes memory packed;
        for (uint256 i = 0; i < count; i++) {
            packed = bytes.concat(packed, pack(plain[i % plain.length], count));
        }
        assertTrue(libraries.areWellFormed(packed));
        uint256 offset = 0;
        for (uint256 i = 0; i < count; i++) {
            (Libraries.Claim memory read, uint256 size) = libraries.claimAt(packed, offset, leaf);
            assertEq(abi.encode(read), abi.encode(expected(plain[i % plain.length], count, leaf)));
            offset += size;
        }
        assertEq(offset, packed.length);
    }

    function testFuzz_claims_thatAreCutAnywhereAreMalformed(Plain[] calldata plain, uint256 at) public view {
        vm.assume(plain.length > 0);
        bytes memory last = pack(plain[0], 2);
        bytes memory packed = bytes.concat(pack(plain[plain.length - 1], 2), last);
        at = bound(at, packed.length - last.length + 1, packed.length - 1);
        assembly ("memory-safe") {
            mstore(packed, at)
        }
        assertFalse(libraries.areWellFormed(packed));
    }

    function testFuzz_settleCall_ofThePlainEncodingIsDecoded(
        address module,
        address account,
        bytes calldata seed,
        bytes calldata claims
    ) public view {
        bytes memory terms = sized(seed);
        (bool canonical, bytes memory foundTerms, bytes memory foundClaims) =
            libraries.decode(encode(module, account, terms, claims), module, account);
        assertTrue(canonical);
        assertEq(foundTerms, terms);
        assertEq(foundClaims, claims);
    }

    /// Whatever is decoded encodes to the very call data: no second encoding of a settlement passes.
    function testFuzz_settleCall_withAnyByteChangedIsAnotherCallOrNone(
        address module,
        address account,
        bytes calldata claims,
        uint256 at,
        uint8 xor
    ) public view {
        bytes memory callData = encode(module, account, sized(""), claims);
        at = bound(at, 0, callData.length - 1);
        callData[at] = bytes1(uint8(callData[at]) ^ uint8(bound(xor, 1, 255)));
        checkOnlyCanonical(callData, module, account);
    }

    function testFuzz_settleCall_ofAnotherLengthIsNone(
        address module,
        address account,
        bytes calldata claims,
        uint256 length,
        bytes calldata tail
    ) public view {
        bytes memory callData = encode(module, account, sized(""), claims);
        checkOnlyCanonical(bytes.concat(callData, tail), module, account);
        length = bound(length, 0, callData.length);
        assembly ("memory-safe") {
            mstore(callData, length)
        }
        checkOnlyCanonical(callData, module, account);
    }

    function testFuzz_settleCall_ofArbitraryBytesIsNone(bytes calldata callData, address module, address account)
        public
        view
    {
        checkOnlyCanonical(callData, module, account);
    }

    // ---------------------------------------------------------------------------------------------------- internal

    function checkOnlyCanonical(bytes memory callData, address module, address account) private view {
        (bool canonical, bytes memory terms, bytes memory claims) = libraries.decode(callData, module, account);
        if (canonical) assertEq(encode(module, account, terms, claims), callData);
        else assertEq(terms.length + claims.length, 0);
    }

    function encode(address module, address account, bytes memory terms, bytes memory claims)
        private
        pure
        returns (bytes memory)
    {
        bytes memory call = abi.encodeCall(ISessionKeyValidator.settle, (account, terms, claims));
        return abi.encodeCall(IERC7579Execution.execute, (bytes32(0), abi.encodePacked(module, uint256(0), call)));
    }

    /// As many bytes as terms have.
    function sized(bytes memory seed) private pure returns (bytes memory terms) {
        terms = bytes.concat(seed, new bytes(GrantTerms.SIZE));
        assembly ("memory-safe") {
            mstore(terms, 157)
        }
    }

    function pack(Plain calldata claim, uint256 count) private pure returns (bytes memory packed) {
        (uint8 marker, uint256 proofLength) = markerOf(claim, count);
        packed = abi.encodePacked(claim.payee, claim.amount, claim.cumulativeAmount, claim.r, claim.yParityAndS, marker);
        for (uint256 i = 0; i < proofLength; i++) {
            packed = bytes.concat(packed, elementOf(claim.proof, i));
        }
    }

    function expected(Plain calldata claim, uint256 count, bytes32 leaf)
        private
        pure
        returns (Libraries.Claim memory read)
    {
        (uint8 marker, uint256 proofLength) = markerOf(claim, count);
        (read.payee, read.amount, read.cumulativeAmount) = (claim.payee, claim.amount, claim.cumulativeAmount);
        (read.r, read.yParityAndS) = (claim.r, claim.yParityAndS);
        (read.single, read.knownPayee) = (marker == 0, marker == 0xff);
        read.root = rootOf(leaf, claim.proof, proofLength);
    }

    /// Which kind of claim it is made: a single payee's only if alone, a known payee's, or one with a proof.
    function markerOf(Plain calldata claim, uint256 count) private pure returns (uint8 marker, uint256 proofLength) {
        if (count == 1 && claim.kind % 3 == 0) return (0, 0);
        if (claim.kind % 3 == 1) return (0xff, 0);
        proofLength = 1 + claim.proof.length % 32;
        return (uint8(proofLength), proofLength);
    }

    function elementOf(bytes32[] calldata proof, uint256 i) private pure returns (bytes32) {
        return i < proof.length ? proof[i] : bytes32(i);
    }

    function rootOf(bytes32 leaf, bytes32[] calldata proof, uint256 proofLength) private pure returns (bytes32 root) {
        root = leaf;
        for (uint256 i = 0; i < proofLength; i++) {
            bytes32 element = elementOf(proof, i);
            root = root < element ? keccak256(abi.encode(root, element)) : keccak256(abi.encode(element, root));
        }
    }
}
