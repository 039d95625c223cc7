// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Paymaster that takes any operation, and can charge its account tokens for it, as ERC-20 paymasters do
contract OpenPaymaster {
    IERC20 private immutable _token;
    uint256 private immutable _price;

    /// @param token what it charges in, or zero: then it pays for everybody.
    /// @param price base units for each operation.
    constructor(IERC20 token, uint256 price) {
        (_token, _price) = (token, price);
    }

    function validatePaymasterUserOp(PackedUserOperation calldata userOp, bytes32, uint256)
        external
        view
        returns (bytes memory, uint256)
    {
        return (address(_token) == address(0) ? bytes("") : abi.encode(userOp.sender), 0);
    }

    function postOp(uint8, bytes calldata context, uint256, uint256) external {
        require(_token.transferFrom(abi.decode(context, (address)), address(this), _price), "not paid");
    }
}
