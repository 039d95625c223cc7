// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Proxy} from "@openzeppelin/contracts/proxy/Proxy.sol";
import {StorageSlot} from "@openzeppelin/contracts/utils/StorageSlot.sol";

/// @title Token as costly as USDC v2.2, for gas figures
/// @dev Reads and writes the storage that Circle's FiatTokenV2_2 does in a transfer: the pause flag, and for the spender,
/// the sender and the receiver one slot each that holds balance and blacklist bit. An allowance always goes down, also an
/// infinite one. Anybody mints, pauses and blacklists. Source: github.com/circlefin/stablecoin-evm.
contract FiatToken {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    error Paused();
    error Blacklisted(address account);
    error InsufficientBalance(address account, uint256 balance, uint256 value);
    error InsufficientAllowance(uint256 allowance, uint256 value);

    uint256 private constant BLACKLIST_BIT = 1 << 255;

    bool public paused;
    uint256 public totalSupply;
    mapping(address account => uint256) private _balanceAndBlacklistState;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    modifier whenNotPaused() {
        if (paused) revert Paused();
        _;
    }

    modifier notBlacklisted(address account) {
        if (isBlacklisted(account)) revert Blacklisted(account);
        _;
    }

    function mint(address to, uint256 value) external {
        totalSupply += value;
        _setBalance(to, balanceOf(to) + value);
        emit Transfer(address(0), to, value);
    }

    function setPaused(bool paused_) external {
        paused = paused_;
    }

    function setBlacklisted(address account, bool blacklisted) external {
        _balanceAndBlacklistState[account] = balanceOf(account) | (blacklisted ? BLACKLIST_BIT : 0);
    }

    function approve(address spender, uint256 value)
        external
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(spender)
        returns (bool)
    {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value)
        external
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(to)
        returns (bool)
    {
        _transfer(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value)
        external
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(from)
        notBlacklisted(to)
        returns (bool)
    {
        uint256 allowed = allowance[from][msg.sender];
        if (value > allowed) revert InsufficientAllowance(allowed, value);
        _transfer(from, to, value);
        allowance[from][msg.sender] = allowed - value;
        return true;
    }

    function decimals() external pure returns (uint8) {
        return 6;
    }

    function balanceOf(address account) public view returns (uint256) {
        return _balanceAndBlacklistState[account] & ~BLACKLIST_BIT;
    }

    function isBlacklisted(address account) public view returns (bool) {
        return _balanceAndBlacklistState[account] >> 255 == 1;
    }

    function _transfer(address from, address to, uint256 value) private {
        uint256 balance = balanceOf(from);
        if (value > balance) revert InsufficientBalance(from, balance, value);
        _setBalance(from, balance - value);
        _setBalance(to, balanceOf(to) + value);
        emit Transfer(from, to, value);
    }

    /// Of accounts that are not blacklisted.
    function _setBalance(address account, uint256 balance) private {
        _balanceAndBlacklistState[account] = balance;
    }
}

/// @title The proxy in front of it, which reads two slots as Circle's does: its admin, who may not fall through, and the
/// implementation
contract FiatTokenProxy is Proxy {
    using StorageSlot for bytes32;

    bytes32 private constant IMPLEMENTATION_SLOT = keccak256("org.zeppelinos.proxy.implementation");
    bytes32 private constant ADMIN_SLOT = keccak256("org.zeppelinos.proxy.admin");

    error AdminFellThrough();

    constructor(address implementation, address admin) {
        IMPLEMENTATION_SLOT.getAddressSlot().value = implementation;
        ADMIN_SLOT.getAddressSlot().value = admin;
    }

    function _implementation() internal view override returns (address) {
        return IMPLEMENTATION_SLOT.getAddressSlot().value;
    }

    function _fallback() internal override {
        if (msg.sender == ADMIN_SLOT.getAddressSlot().value) revert AdminFellThrough();
        super._fallback();
    }

    receive() external payable {
        _fallback();
    }
}
