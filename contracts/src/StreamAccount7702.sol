// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccountERC7579} from "@openzeppelin/contracts/account/extensions/draft-AccountERC7579.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ERC1155Holder} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Holder.sol";
import {ERC721Holder} from "@openzeppelin/contracts/token/ERC721/utils/ERC721Holder.sol";
import {AbstractSigner} from "@openzeppelin/contracts/utils/cryptography/signers/AbstractSigner.sol";
import {SignerEIP7702} from "@openzeppelin/contracts/utils/cryptography/signers/SignerEIP7702.sol";
import {StreamAccountBase} from "./StreamAccountBase.sol";

/// @title StreamAccount7702
/// @notice The code that a plain EOA delegates to (EIP-7702) to become an ERC-7579 account at the address it has. One
/// deployment serves every EOA.
/// @dev See StreamAccountBase. The EOA's own key is the owner, always: there is nothing to initialise and no owner to
/// set, so nobody can be first, and whoever sends the delegation or calls the account gets no say in it. The key
/// stays what it was: its own transactions, and another delegation, need no consent of this code.
///
/// Storage begins at the slot of ERC-7201's namespace "protocolbanks.storage.StreamAccount7702": what other code left in
/// the EOA's slots while the EOA delegated to it means nothing here. Modules that were installed stay in there while the
/// EOA delegates elsewhere, and are installed again when it comes back. Code that was malicious can have written here
/// too, as it could have moved the EOA's money: no later delegate can tell.
contract StreamAccount7702 layout at 0xf2d8d93e58583969cac33cfd7ff81dc6df85e9fd420f70b96997e9522c58bb00
    is
    StreamAccountBase,
    SignerEIP7702,
    ERC721Holder,
    ERC1155Holder
{
    constructor(IEntryPoint entryPoint_) StreamAccountBase(entryPoint_) {}

    function accountId() public pure override returns (string memory) {
        return "protocolbanks.stream7702.1.0.0";
    }

    /// ERC-1271: also what the EOA signs without nesting. The key has this one address, and tokens that saw a plain
    /// signature of it accepted yesterday (EIP-2612, EIP-3009) ask the code today.
    function isValidSignature(bytes32 hash, bytes calldata signature) public view override returns (bytes4) {
        if (_rawSignatureValidation(hash, signature)) return IERC1271.isValidSignature.selector;
        return super.isValidSignature(hash, signature);
    }

    function _rawSignatureValidation(bytes32 hash, bytes calldata signature)
        internal
        view
        override(AbstractSigner, AccountERC7579, SignerEIP7702)
        returns (bool)
    {
        return SignerEIP7702._rawSignatureValidation(hash, signature);
    }
}
