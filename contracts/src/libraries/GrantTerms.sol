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

    /// `epoch` is the account's: what an earlier epoch granted has another id, so nothing has to be deleted.
    function idOf(bytes32 packedHash, address module, address account, uint64 epoch) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, module, account, epoch, packedHash));
    }

    /// Leaf of OpenZeppelin's StandardMerkleTree over [address]. Hashed twice, so that no inner node is a leaf.
    function leafOf(address payee) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(payee))));
    }

    function sessionKey(bytes calldata packed) internal pure returns (address) {
        return address(bytes20(packed[0:20]));
    }

    function settler(bytes calldata packed) internal pure returns (address) {
        return address(bytes20(packed[20:40]));
    }

    function token(bytes calldata packed) internal pure returns (address) {
        return address(bytes20(packed[40:60]));
    }

    function totalLimit(bytes calldata packed) internal pure returns (uint96) {
        return uint96(bytes12(packed[60:72]));
    }

    function periodLimit(bytes calldata packed) internal pure returns (uint96) {
        return uint96(bytes12(packed[72:84]));
    }

    function period(bytes calldata packed) internal pure returns (uint32) {
        return uint32(bytes4(packed[84:88]));
    }

    function validAfter(bytes calldata packed) internal pure returns (uint48) {
        return uint48(bytes6(packed[88:94]));
    }

    function validUntil(bytes calldata packed) internal pure returns (uint48) {
        return uint48(bytes6(packed[94:100]));
    }

    function payeeRoot(bytes calldata packed) internal pure returns (bytes32) {
        return bytes32(packed[100:132]);
    }

    function source(bytes calldata packed) internal pure returns (uint8) {
        return uint8(packed[132]);
    }
}
