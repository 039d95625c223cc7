// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {ISessionKeyValidator} from "../interfaces/ISessionKeyValidator.sol";

/// @title Reads a concatenation of packed claims
/// @dev
/// offset size field
/// 0      20   payee
/// 20     12   amount
/// 32     16   cumulativeAmount
/// 48     64   signature         EIP-2098
/// 112    1    proofLength       elements, at most MAX_PROOF_LENGTH; or KNOWN_PAYEE
/// 113    32n  proof
///
/// Length 0 is of a grant to a single payee, and stands alone. Such a grant keeps the payee's figure in its own slot; a
/// list of such claims could only repeat that payee, so it is malformed.
/// KNOWN_PAYEE is of a grant to several payees that has paid this one before: it needs no second proof.
library Claims {
    uint256 internal constant HEAD_SIZE = 113;
    uint256 private constant PROOF_LENGTH = 112;
    uint256 internal constant MAX_PROOF_LENGTH = 32;
    uint256 internal constant KNOWN_PAYEE = 0xff;

    /// Size of the claim at `offset`; 0 if it is malformed. `offset` is at most `claims.length`.
    function sizeAt(bytes calldata claims, uint256 offset) internal pure returns (uint256 size) {
        unchecked {
            uint256 rest = claims.length - offset;
            if (rest < HEAD_SIZE) return 0;
            uint256 proofLength = uint8(bytes1(_wordAt(claims, offset + PROOF_LENGTH)));
            if (proofLength == KNOWN_PAYEE) return HEAD_SIZE;
            if (proofLength > MAX_PROOF_LENGTH) return 0;
            size = HEAD_SIZE + 32 * proofLength;
            if (size > rest || (proofLength == 0 && size != claims.length)) return 0;
        }
    }

    /// Whether the whole encoding can be read.
    function areWellFormed(bytes calldata claims) internal pure returns (bool) {
        if (claims.length == 0) return false;
        for (uint256 offset = 0; offset < claims.length;) {
            uint256 size = sizeAt(claims, offset);
            if (size == 0) return false;
            offset += size;
        }
        return true;
    }

    /// The bytes of the claim at `offset`. Reverts with MalformedClaims.
    function sliceAt(bytes calldata claims, uint256 offset) internal pure returns (bytes calldata) {
        uint256 size = sizeAt(claims, offset);
        if (size == 0) revert ISessionKeyValidator.MalformedClaims(offset);
        return claims[offset:offset + size];
    }

    // The readers below take one claim, as `sliceAt` returns it.

    function payee(bytes calldata claim) internal pure returns (address) {
        return address(bytes20(_wordAt(claim, 0)));
    }

    function amount(bytes calldata claim) internal pure returns (uint96) {
        return uint96(bytes12(_wordAt(claim, 20)));
    }

    function cumulativeAmount(bytes calldata claim) internal pure returns (uint128) {
        return uint128(bytes16(_wordAt(claim, 32)));
    }

    function signature(bytes calldata claim) internal pure returns (bytes32 r, bytes32 yParityAndS) {
        return (_wordAt(claim, 48), _wordAt(claim, 80));
    }

    /// Of a grant to one payee. The others are of grants to several.
    function isSingle(bytes calldata claim) internal pure returns (bool) {
        return bytes1(_wordAt(claim, PROOF_LENGTH)) == 0;
    }

    function isKnownPayee(bytes calldata claim) internal pure returns (bool) {
        return uint8(bytes1(_wordAt(claim, PROOF_LENGTH))) == KNOWN_PAYEE;
    }

    /// The Merkle root that the claim's proof leads to from `leaf`; without a proof `leaf` itself.
    function rootFrom(bytes calldata claim, bytes32 leaf) internal pure returns (bytes32 root) {
        root = leaf;
        for (uint256 at = HEAD_SIZE; at < claim.length; at += 32) {
            root = Hashes.commutativeKeccak256(root, _wordAt(claim, at));
        }
    }

    /// The 32 bytes from `offset` on, unchecked: what the callers take of them is within the size that was checked.
    /// Assembly, because a slice costs more gas; PackedEncodings.t.sol holds the two equal.
    // slither-disable-next-line assembly
    function _wordAt(bytes calldata claims, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(add(claims.offset, offset))
        }
    }
}
