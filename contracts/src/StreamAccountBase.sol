// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccountERC7579} from "@openzeppelin/contracts/account/extensions/draft-AccountERC7579.sol";
import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";

/// @title StreamAccountBase
/// @notice What our accounts have in common: OpenZeppelin's ERC-7579 account on one EntryPoint, and ERC-7739 signatures.
/// Who the owner is, says the account that is made of it.
/// @dev Trust: the owner's key alone acts for the account, through the EntryPoint, plus the modules the owner installs.
/// The first 20 bytes of a nonce choose the validator; zero is the owner's signature of the raw userOpHash.
/// ERC-1271: the owner signs in ERC-7739's nested form, so that a signature for one account is none for another of the
/// same owner. SessionKeyValidator never signs for the account.
abstract contract StreamAccountBase is AccountERC7579, ERC7739 {
    IEntryPoint private immutable _entryPoint;

    constructor(IEntryPoint entryPoint_) EIP712("Protocol Banks Stream Account", "1") {
        _entryPoint = entryPoint_;
    }

    function entryPoint() public view override returns (IEntryPoint) {
        return _entryPoint;
    }

    /// ERC-1271: the owner's nested signature (ERC-7739), or what an installed validator module says.
    function isValidSignature(bytes32 hash, bytes calldata signature)
        public
        view
        virtual
        override(AccountERC7579, ERC7739)
        returns (bytes4)
    {
        bytes4 byOwner = ERC7739.isValidSignature(hash, signature);
        return byOwner == 0xffffffff ? AccountERC7579.isValidSignature(hash, signature) : byOwner;
    }
}
