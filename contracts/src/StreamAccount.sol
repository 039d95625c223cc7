// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccountERC7579} from "@openzeppelin/contracts/account/extensions/draft-AccountERC7579.sol";
import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {AbstractSigner} from "@openzeppelin/contracts/utils/cryptography/signers/AbstractSigner.sol";
import {SignerECDSA} from "@openzeppelin/contracts/utils/cryptography/signers/SignerECDSA.sol";
import {StreamAccountBase} from "./StreamAccountBase.sol";

/// @title StreamAccount
/// @notice OpenZeppelin's ERC-7579 account with one ECDSA owner, for people who have no smart account yet. Deployed as
/// a clone by StreamAccountFactory; not upgradable.
/// @dev See StreamAccountBase. The owner is in storage and can be replaced.
contract StreamAccount is Initializable, StreamAccountBase, SignerECDSA {
    event OwnerChanged(address indexed previousOwner, address indexed owner);

    error InvalidOwner(address owner);

    /// The implementation itself can never be initialised: only clones are accounts.
    constructor(IEntryPoint entryPoint_) StreamAccountBase(entryPoint_) SignerECDSA(address(0)) {
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

    // OpenZeppelin's account calls it, through functions that slither cannot read.
    // slither-disable-next-line dead-code
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
