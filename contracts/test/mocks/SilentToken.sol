// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Token whose transferFrom returns nothing, as USDT's does
contract SilentToken {
    mapping(address account => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 value) external {
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}
