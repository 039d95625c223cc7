// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC7579Execution} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeyValidator} from "../interfaces/ISessionKeyValidator.sol";
import {GrantTerms} from "./GrantTerms.sol";

/// @title The one call data a session key's UserOperation may have
/// @dev `execute(bytes32(0), abi.encodePacked(module, uint256(0), settle(account, terms, claims)))`:
///
/// offset size field
/// 0      4    execute's selector
/// 4      32   mode, zero: one call, revert on failure
/// 36     32   offset of the execution, 0x40
/// 68     32   its length
/// 100    20   module
/// 120    32   value, zero
/// 152    4    settle's selector
/// 156    32   account
/// 188    64   offsets of terms (0x60) and claims (0x120)
/// 252    32   length of terms, 157
/// 284    160  terms and padding
/// 444    32   length of claims
/// 476         claims and padding, twice: of settle and of execute
library SettleCall {
    uint256 private constant TERMS = 284;
    uint256 private constant CLAIMS_LENGTH = 444;
    uint256 private constant CLAIMS = 476;

    /// `canonical` is false for everything else; then `terms` and `claims` are empty. Reads at fixed places, encodes
    /// what it read the one right way and compares: other offsets, padding or trailing bytes cannot pass.
    function decode(bytes calldata callData, address module, address account)
        internal
        pure
        returns (bool canonical, bytes calldata terms, bytes calldata claims)
    {
        terms = callData[0:0];
        claims = terms;
        if (callData.length < CLAIMS) return (false, terms, claims);
        uint256 claimsLength = uint256(bytes32(callData[CLAIMS_LENGTH:CLAIMS]));
        if (claimsLength > callData.length - CLAIMS) return (false, terms, claims);

        bytes calldata foundTerms = callData[TERMS:TERMS + GrantTerms.SIZE];
        bytes calldata foundClaims = callData[CLAIMS:CLAIMS + claimsLength];
        bytes memory settleCall = abi.encodeCall(ISessionKeyValidator.settle, (account, foundTerms, foundClaims));
        bytes memory execution = abi.encodePacked(module, uint256(0), settleCall);
        bytes memory expected = abi.encodeCall(IERC7579Execution.execute, (bytes32(0), execution));
        if (keccak256(expected) != keccak256(callData)) return (false, terms, claims);
        return (true, foundTerms, foundClaims);
    }
}
