// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC7579Execution} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeyValidator} from "../interfaces/ISessionKeyValidator.sol";
import {GrantTerms} from "./GrantTerms.sol";

/// @title The only call data that a settling UserOperation may have
/// @dev `execute(bytes32(0), abi.encodePacked(module, uint256(0), settle(account, terms, claims)))`, ABI-encoded the one
/// canonical way, so that terms and claims are at fixed places:
///
///   offset size content
///   0      100  execute: selector, mode 0, offset 64, length
///   100    52   module, value 0
///   152    132  settle: selector, account, offset 96, offset 288, length 157
///   284    160  terms and 3 bytes of padding
///   444    32   length of the claims
///   476    n    claims, then padding
library SettleCallData {
    uint256 private constant TERMS_AT = 284;
    uint256 private constant CLAIMS_LENGTH_AT = 444;
    uint256 private constant CLAIMS_AT = 476;

    /// @notice Terms and claims at their places; both empty when the call data is too short for what it announces.
    /// @dev Only {matches} says that the rest is as it must be.
    function parse(bytes calldata callData) internal pure returns (bytes calldata terms, bytes calldata claims) {
        if (callData.length < CLAIMS_AT) return (callData[0:0], callData[0:0]);
        uint256 length = uint256(bytes32(callData[CLAIMS_LENGTH_AT:CLAIMS_AT]));
        if (length > callData.length - CLAIMS_AT) return (callData[0:0], callData[0:0]);
        return (callData[TERMS_AT:TERMS_AT + GrantTerms.SIZE], callData[CLAIMS_AT:CLAIMS_AT + length]);
    }

    /// @notice Whether the call data is the canonical encoding for this account, with these terms and claims.
    /// @dev Compares with an encoding made afresh: no byte is left to anybody's choice, so no account can read another
    /// target, value, mode or call out of it than was checked here.
    function matches(bytes calldata callData, address account, bytes calldata terms, bytes calldata claims)
        internal
        view
        returns (bool)
    {
        bytes memory settle = abi.encodeCall(ISessionKeyValidator.settle, (account, terms, claims));
        bytes memory execution = abi.encodePacked(address(this), uint256(0), settle);
        return keccak256(callData) == keccak256(abi.encodeCall(IERC7579Execution.execute, (bytes32(0), execution)));
    }
}
