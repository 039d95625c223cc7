// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccountERC7579} from "@openzeppelin/contracts/account/extensions/draft-AccountERC7579.sol";
import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {AbstractSigner} from "@openzeppelin/contracts/utils/cryptography/signers/AbstractSigner.sol";
import {SignerECDSA} from "@openzeppelin/contracts/utils/cryptography/signers/SignerECDSA.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";

/// @title StreamAccount
/// @notice OpenZeppelin's ERC-7579 account with one ECDSA owner, for people who have no smart account yet. Deployed as
/// a clone by StreamAccountFactory; not upgradable.
/// @dev Trust: the owner's key alone acts for the account, through the EntryPoint, plus the modules the owner installs.
/// The first 20 bytes of a nonce choose the validator; zero is the owner's signature of the raw userOpHash.
/// ERC-1271: the owner signs in ERC-7739's nested form, so that a signature for one account is none for another of the
/// same owner. SessionKeyValidator never signs for the account.
contract StreamAccount is Initializable, AccountERC7579, SignerECDSA, ERC7739 {
    event OwnerChanged(address indexed previousOwner, address indexed owner);

    error InvalidOwner(address owner);

    IEntryPoint private immutable _entryPoint;

    /// The implementation itself can never be initialised: only clones are accounts.
    constructor(IEntryPoint entryPoint_) SignerECDSA(address(0)) EIP712("Protocol Banks Stream Account", "1") {
        _entryPoint = entryPoint_;
        _disableInitializers();
    }

    /// Called by the factory in the transaction that deploys the clone.
    function initialize(address owner_) external initializer {
        _setOwner(owner_);
    }

    /// Hands the account over; only as a call of the account to itself.
    function setOwner(address owner_) external {
        if (msg.sender != address(this)) revert AccountUnauthorized(msg.sender);
        _setOwner(owner_);
    }

    function owner() external view returns (address) {
        return signer();
    }

    function accountId() public pure override returns (string memory) {
        return "protocolbanks.stream.1.0.0";
    }

    function entryPoint() public view override returns (IEntryPoint) {
        return _entryPoint;
    }

    /// ERC-1271: the owner's nested signature (ERC-7739), or what an installed validator module says.
    function isValidSignature(bytes32 hash, bytes calldata signature)
        public
        view
        override(AccountERC7579, ERC7739)
        returns (bytes4)
    {
        bytes4 byOwner = ERC7739.isValidSignature(hash, signature);
        return byOwner == 0xffffffff ? AccountERC7579.isValidSignature(hash, signature) : byOwner;
    }

    function _rawSignatureValidation(bytes32 hash, bytes calldata signature)
        internal
        view
        override(AbstractSigner, AccountERC7579, SignerECDSA)
        returns (bool)
    {
        return SignerECDSA._rawSignatureValidation(hash, signature);
    }

    function _setOwner(address owner_) private {
        if (owner_ == address(0) || owner_ == address(this)) revert InvalidOwner(owner_);
        emit OwnerChanged(signer(), owner_);
        _setSigner(owner_);
    }
}
