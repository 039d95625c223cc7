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
    /// Of settle's call data and of the execution around it, without the claims.
    uint256 private constant SETTLE_SIZE = 324;
    uint256 private constant EXECUTION_SIZE = 52 + SETTLE_SIZE;

    /// `canonical` is false for everything else; then `terms` and `claims` are empty. What stands before the terms is
    /// known but for the length of the claims, and all padding is zero: other offsets or trailing bytes cannot pass.
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

        uint256 executionSize = EXECUTION_SIZE + _toWords(claimsLength);
        bytes calldata padding = callData[CLAIMS + claimsLength:];
        // Of at most 59 bytes of padding, `bytes32` takes the first 32, or all and zeros: both together see every one.
        // forge-lint: disable-next-item(unsafe-typecast)
        canonical = callData.length == 100 + _toWords(executionSize)
            && keccak256(callData[:TERMS]) == _hashHead(module, account, executionSize)
            && bytes3(callData[TERMS + GrantTerms.SIZE:CLAIMS_LENGTH]) == 0 && bytes32(padding) == 0
            && (padding.length <= 32 || bytes32(padding[32:]) == 0);
        if (canonical) {
            terms = callData[TERMS:TERMS + GrantTerms.SIZE];
            claims = callData[CLAIMS:CLAIMS + claimsLength];
        }
    }

    /// Of what stands before the terms.
    function _hashHead(address module, address account, uint256 executionSize) private pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                abi.encodeWithSelector(IERC7579Execution.execute.selector, bytes32(0), uint256(0x40), executionSize),
                module,
                uint256(0),
                abi.encodeWithSelector(
                    ISessionKeyValidator.settle.selector, account, uint256(0x60), uint256(0x120), GrantTerms.SIZE
                )
            )
        );
    }

    /// Rounded up to whole words, as the ABI pads.
    function _toWords(uint256 length) private pure returns (uint256) {
        return (length + 31) & ~uint256(31);
    }
}
