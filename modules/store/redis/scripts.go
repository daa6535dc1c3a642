package redis

import (
	_ "embed"
	"strings"

	"github.com/redis/rueidis"
)

var (
	//go:embed lua/clock.lua
	clockLua string
	//go:embed lua/take.lua
	takeLua string
	//go:embed lua/release.lua
	releaseLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/ledger.lua
	ledgerLua string
	//go:embed lua/reserve.lua
	reserveLua string
	//go:embed lua/settle.lua
	settleLua string
	//go:embed lua/release_hold.lua
	releaseHoldLua string
	//go:embed lua/balances.lua
	balancesLua string
	//go:embed lua/cache_get.lua
	cacheGetLua string
	//go:embed lua/cache_put.lua
	cachePutLua string
	//go:embed lua/session.lua
	sessionLua string
	//go:embed lua/append.lua
	appendLua string
	//go:embed lua/retract.lua
	retractLua string
	//go:embed lua/history.lua
	historyLua string
	//go:embed lua/sessions.lua
	sessionsLua string
	//go:embed lua/delete.lua
	deleteLua string
	//go:embed lua/turn.lua
	turnLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/begin.lua
	beginLua string
	//go:embed lua/publish.lua
	publishLua string
	//go:embed lua/end_lost.lua
	endLostLua string
	//go:embed lua/cancel.lua
	cancelLua string
	//go:embed lua/follow.lua
	followLua string
)

// The scripts, one an operation.
var (
	takeScript        = script(takeLua)
	releaseScript     = script(releaseLua)
	renewScript       = script(renewLua)
	reserveScript     = script(ledgerLua, reserveLua)
	settleScript      = script(ledgerLua, settleLua)
	releaseHoldScript = script(ledgerLua, releaseHoldLua)
	balancesScript    = script(ledgerLua, balancesLua)
	cacheGetScript    = script(cacheGetLua)
	cachePutScript    = script(cachePutLua)
	appendScript      = script(sessionLua, turnLua, appendLua)
	retractScript     = script(sessionLua, retractLua)
	historyScript     = script(sessionLua, historyLua)
	sessionsScript    = script(sessionLua, sessionsLua)
	deleteScript      = script(sessionLua, turnLua, deleteLua)
	claimScript       = script(turnLua, claimLua)
	beginScript       = script(sessionLua, turnLua, beginLua)
	publishScript     = script(turnLua, publishLua)
	endLostScript     = script(turnLua, endLostLua)
	cancelScript      = script(turnLua, cancelLua)
	followScript      = script(turnLua, followLua)
)

func script(parts ...string) *rueidis.Lua {
	return rueidis.NewLuaScript(clockLua + strings.Join(parts, ""))
}
