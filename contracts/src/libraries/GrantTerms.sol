// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Terms} from "../interfaces/ISessionKeyValidator.sol";

/// @title The packed form of a grant's terms, and its id
/// @dev Readers expect exactly SIZE bytes; the caller checks the length.
///
/// offset size field
/// 0      20   sessionKey
/// 20     20   settler
/// 40     20   token
/// 60     12   totalLimit
/// 72     12   periodLimit
/// 84     4    period
/// 88     6    validAfter
/// 94     6    validUntil
/// 100    32   payeeRoot
/// 132    1    source
/// 133    24   salt
library GrantTerms {
    uint256 internal constant SIZE = 157;

    function pack(Terms calldata terms) internal pure returns (bytes memory) {
        return abi.encodePacked(
            terms.sessionKey,
            terms.settler,
            terms.token,
            terms.totalLimit,
            terms.periodLimit,
            terms.period,
            terms.validAfter,
            terms.validUntil,
            terms.payeeRoot,
            terms.source,
            terms.salt
        );
    }

    // Assembly, here and below, because the plain form costs more gas. PackedEncodings.t.sol holds the two equal.

    /// keccak256(packed).
    // slither-disable-next-line assembly
    function hashOf(bytes calldata packed) internal pure returns (bytes32 packedHash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, packed.offset, packed.length)
            packedHash := keccak256(free, packed.length)
        }
    }

    /// keccak256(abi.encode(chainid, module, account, epoch, packedHash)). `epoch` is the account's: what an earlier epoch
    /// granted has another id, so nothing has to be deleted.
    // slither-disable-next-line assembly
    function idOf(bytes32 packedHash, address module, address account, uint64 epoch)
        internal
        view
        returns (bytes32 grantId)
    {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, chainid())
            mstore(add(free, 0x20), shr(96, shl(96, module)))
            mstore(add(free, 0x40), shr(96, shl(96, account)))
            mstore(add(free, 0x60), shr(192, shl(192, epoch)))
            mstore(add(free, 0x80), packedHash)
            grantId := keccak256(free, 0xa0)
        }
    }

    /// Leaf of OpenZeppelin's StandardMerkleTree over [address]: keccak256(keccak256(abi.encode(payee))). Hashed twice, so
    /// that no inner node is a leaf.
    // slither-disable-next-line assembly
    function leafOf(address payee) internal pure returns (bytes32 leaf) {
        assembly ("memory-safe") {
            mstore(0x00, shr(96, shl(96, payee)))
            mstore(0x00, keccak256(0x00, 0x20))
            leaf := keccak256(0x00, 0x20)
        }
    }

    function sessionKey(bytes calldata packed) internal pure returns (address) {
        return address(bytes20(_wordAt(packed, 0)));
    }

    function settler(bytes calldata packed) internal pure returns (address) {
        return address(bytes20(_wordAt(packed, 20)));
    }

    function token(bytes calldata packed) internal pure returns (address) {
        return address(bytes20(_wordAt(packed, 40)));
    }

    function totalLimit(bytes calldata packed) internal pure returns (uint96) {
        return uint96(bytes12(_wordAt(packed, 60)));
    }

    function periodLimit(bytes calldata packed) internal pure returns (uint96) {
        return uint96(bytes12(_wordAt(packed, 72)));
    }

    function period(bytes calldata packed) internal pure returns (uint32) {
        return uint32(bytes4(_wordAt(packed, 84)));
    }

    function validAfter(bytes calldata packed) internal pure returns (uint48) {
        return uint48(bytes6(_wordAt(packed, 88)));
    }

    function validUntil(bytes calldata packed) internal pure returns (uint48) {
        return uint48(bytes6(_wordAt(packed, 94)));
    }

    function payeeRoot(bytes calldata packed) internal pure returns (bytes32) {
        return _wordAt(packed, 100);
    }

    function source(bytes calldata packed) internal pure returns (uint8) {
        return uint8(bytes1(_wordAt(packed, 132)));
    }

    /// The 32 bytes from `offset` on, unchecked: SIZE covers what the readers above take of them.
    // slither-disable-next-line assembly
    function _wordAt(bytes calldata packed, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(add(packed.offset, offset))
        }
    }
}
