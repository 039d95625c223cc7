// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title Token that takes calls it does not know, as WETH does: a permit passes, and permits nothing
contract PhantomPermitToken is ERC20("Phantom", "PHA") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    fallback() external {}
}
