// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Paymaster} from "@openzeppelin/contracts/account/paymaster/Paymaster.sol";
import {ERC4337Utils} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title SponsorPaymaster
/// @notice Pays the gas of UserOperations that its signer approved, within a time window. No postOp: what a merchant
/// owes for gas is counted off-chain from `UserOperationEvent`.
/// @dev Trust: the owner holds the deposit and the stake and names the signer; the signer can only spend the deposit on
/// gas. It reads its own storage in validation, so under ERC-7562 it needs a stake.
///
/// `paymasterAndData`, exactly 128 bytes:
///
/// offset size field
/// 0      20   paymaster
/// 20     16   verificationGasLimit
/// 36     16   postOpGasLimit
/// 52     6    validUntil            as in ERC-4337: 0 is no end
/// 58     6    validAfter
/// 64     64   signature             EIP-2098, by the signer, of `hashSponsoredUserOperation`
contract SponsorPaymaster is Paymaster, Ownable2Step, EIP712 {
    // --------------------------------------------------------------------------------------------- errors and events

    error InvalidSigner(address signer);
    /// `paymasterAndData` has another length than 128.
    error MalformedPaymasterAndData(uint256 length);

    event SignerChanged(address indexed previousSigner, address indexed signer);

    // --------------------------------------------------------------------------------------------------- constants

    uint256 private constant DATA_SIZE = 128;

    bytes32 private constant SPONSORED_TYPEHASH = keccak256(
        "SponsoredUserOperation(address sender,uint256 nonce,bytes32 initCodeHash,bytes32 callDataHash,bytes32 accountGasLimits,uint256 preVerificationGas,bytes32 gasFees,bytes32 paymasterGasLimits,uint48 validUntil,uint48 validAfter)"
    );

    // -------------------------------------------------------------------------------------------------- immutables

    IEntryPoint private immutable _entryPoint;

    // ----------------------------------------------------------------------------------------------------- storage

    address public signer;

    // ------------------------------------------------------------------------------------------------- constructor

    constructor(IEntryPoint entryPoint_, address owner_, address signer_)
        Ownable(owner_)
        EIP712("Protocol Banks Sponsor", "1")
    {
        _entryPoint = entryPoint_;
        _setSigner(signer_);
    }

    // ---------------------------------------------------------------------------------------------- external: owner

    function setSigner(address signer_) external onlyOwner {
        _setSigner(signer_);
    }

    /// @param amount wei.
    function withdrawTo(address payable to, uint256 amount) external onlyOwner {
        _withdraw(to, amount);
    }

    /// Stakes the value sent. The delay, seconds, can only grow.
    function addStake(uint32 unstakeDelaySec) external payable onlyOwner {
        _addStake(msg.value, unstakeDelaySec);
    }

    function unlockStake() external onlyOwner {
        _unlockStake();
    }

    function withdrawStake(address payable to) external onlyOwner {
        _withdrawStake(to);
    }

    // ------------------------------------------------------------------------------------------- external: everybody

    /// Adds the value sent to what gas is paid from.
    function deposit() external payable {
        _deposit(msg.value);
    }

    // ------------------------------------------------------------------------------------------------ public: views

    function entryPoint() public view override returns (IEntryPoint) {
        return _entryPoint;
    }

    /// EIP-712 digest the signer signs. The account's signature is not part of it: the account signs after the sponsor.
    function hashSponsoredUserOperation(PackedUserOperation calldata userOp, uint48 validUntil, uint48 validAfter)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    SPONSORED_TYPEHASH,
                    userOp.sender,
                    userOp.nonce,
                    keccak256(userOp.initCode),
                    keccak256(userOp.callData),
                    userOp.accountGasLimits,
                    userOp.preVerificationGas,
                    userOp.gasFees,
                    bytes32(userOp.paymasterAndData[20:52]),
                    validUntil,
                    validAfter
                )
            )
        );
    }

    // ---------------------------------------------------------------------------------------------------- internal

    /// A signature of the right length that is not the signer's is SIG_VALIDATION_FAILED, so that gas can be estimated
    /// with a dummy one.
    function _validatePaymasterUserOp(PackedUserOperation calldata userOp, bytes32, uint256)
        internal
        view
        override
        returns (bytes memory context, uint256 validationData)
    {
        bytes calldata data = userOp.paymasterAndData;
        if (data.length != DATA_SIZE) revert MalformedPaymasterAndData(data.length);
        uint48 validUntil = uint48(bytes6(data[52:58]));
        uint48 validAfter = uint48(bytes6(data[58:64]));
        bytes32 hash = hashSponsoredUserOperation(userOp, validUntil, validAfter);
        // The third value only details the problem.
        // slither-disable-next-line unused-return
        (address recovered, ECDSA.RecoverError problem,) =
            ECDSA.tryRecover(hash, bytes32(data[64:96]), bytes32(data[96:128]));
        bool signed = problem == ECDSA.RecoverError.NoError && recovered == signer;
        return ("", ERC4337Utils.packValidationData(signed, validAfter, validUntil));
    }

    function _setSigner(address signer_) private {
        if (signer_ == address(0)) revert InvalidSigner(signer_);
        emit SignerChanged(signer, signer_);
        signer = signer_;
    }
}
