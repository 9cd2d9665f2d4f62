// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// Counterparts of the settlement contracts in tests: a token that misbehaves on demand, an account that is a contract.
// Compiled into settlement_doubles.json by `python tests/contract_mutants.py --doubles`.

/// A small ERC-20 without allowance accounting surprises; what it does wrong is set by `behave`.
contract DoubleToken {
    enum Manner {
        Honest, // returns true
        Silent, // returns nothing, as some old tokens
        False, // moves nothing and returns false
        Refusing, // reverts
        Lying // moves nothing and returns true
    }

    error Refused();
    error Insufficient(uint256 available, uint256 needed);

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    mapping(address account => uint256 units) public balanceOf;
    mapping(address owner => mapping(address spender => uint256 units)) public allowance;
    uint256 public totalSupply;
    Manner public manner;
    uint256 public feePercent;
    bool public hooks;

    /// `hooks_`: tell accounts that are contracts, the sender before and the receiver after (as ERC-777 does).
    function behave(Manner manner_, uint256 feePercent_, bool hooks_) external {
        manner = manner_;
        feePercent = feePercent_;
        hooks = hooks_;
    }

    function mint(address account, uint256 units) external {
        totalSupply += units;
        balanceOf[account] += units;
    }

    function approve(address spender, uint256 units) external returns (bool) {
        allowance[msg.sender][spender] = units;
        emit Approval(msg.sender, spender, units);
        return true;
    }

    function transfer(address to, uint256 units) external {
        _answer(_move(msg.sender, to, units));
    }

    function transferFrom(address from, address to, uint256 units) external {
        if (manner == Manner.Honest || manner == Manner.Silent) {
            uint256 allowed = allowance[from][msg.sender];
            if (allowed < units) revert Insufficient(allowed, units);
            allowance[from][msg.sender] = allowed - units;
        }
        _answer(_move(from, to, units));
    }

    function _move(address from, address to, uint256 units) private returns (bool) {
        if (manner == Manner.Refusing) revert Refused();
        if (manner == Manner.False) return false;
        if (manner == Manner.Lying) return true;
        if (hooks && from.code.length > 0 && from != msg.sender) DoubleAccount(payable(from)).moved();
        uint256 available = balanceOf[from];
        if (available < units) revert Insufficient(available, units);
        uint256 fee = (units * feePercent) / 100;
        balanceOf[from] = available - units;
        balanceOf[to] += units - fee;
        totalSupply -= fee;
        emit Transfer(from, to, units - fee);
        if (hooks && to.code.length > 0 && to != msg.sender) DoubleAccount(payable(to)).moved();
        return true;
    }

    function _answer(bool moved) private view {
        if (manner == Manner.Silent) return;
        assembly ("memory-safe") {
            mstore(0, moved)
            return(0, 32)
        }
    }
}

/// An account that is a contract: calls what it is told to, and does something when it is paid.
contract DoubleAccount {
    error Refused();

    /// Calls made while being paid, and how many of them went through.
    uint256 public attempts;
    uint256 public successes;

    bool public refuses;
    bool public bubbles;
    address public target;
    bytes public whenPaid;

    /// `refuse`: revert when paid. `call_`: what to call then, when not empty; `bubble`: revert if that fails.
    function behave(bool refuse, bool bubble, address target_, bytes calldata call_) external {
        refuses = refuse;
        bubbles = bubble;
        target = target_;
        whenPaid = call_;
    }

    function act(address target_, bytes calldata data) external payable {
        (bool done, bytes memory answer) = target_.call{value: msg.value}(data);
        if (!done) _bubble(answer);
    }

    /// A token's hook.
    function moved() external {
        _onPaid();
    }

    receive() external payable {
        _onPaid();
    }

    function _onPaid() private {
        if (refuses) revert Refused();
        if (whenPaid.length == 0) return;
        ++attempts;
        (bool done, bytes memory answer) = target.call(whenPaid);
        if (done) ++successes;
        else if (bubbles) _bubble(answer);
    }

    function _bubble(bytes memory answer) private pure {
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}
