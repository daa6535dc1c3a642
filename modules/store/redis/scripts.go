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
	//go:embed lua/cached.lua
	cachedLua string
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
	//go:embed lua/claim_key.lua
	claimKeyLua string
	//go:embed lua/slots.lua
	slotsLua string
	//go:embed lua/begin.lua
	beginLua string
	//go:embed lua/publish.lua
	publishLua string
	//go:embed lua/lost.lua
	lostLua string
	//go:embed lua/end_lost.lua
	endLostLua string
	//go:embed lua/cancel.lua
	cancelLua string
	//go:embed lua/follow.lua
	followLua string
	//go:embed lua/check.lua
	checkLua string
	//go:embed lua/find_turn.lua
	findTurnLua string
)

// The scripts, one an operation.
var (
	takeScript        = begins(ledgerLua, takeLua)
	releaseScript     = goesOn(releaseLua)
	renewScript       = goesOn(renewLua)
	reserveScript     = begins(ledgerLua, reserveLua)
	settleScript      = goesOn(ledgerLua, settleLua)
	releaseHoldScript = goesOn(ledgerLua, releaseHoldLua)
	balancesScript    = reads(ledgerLua, balancesLua)
	cacheGetScript    = reads(cachedLua, cacheGetLua)
	cachePutScript    = begins(cachePutLua)
	cacheKeepScript   = goesOn(cachePutLua)
	appendScript      = goesOn(sessionLua, turnLua, appendLua)
	retractScript     = goesOn(sessionLua, retractLua)
	historyScript     = reads(sessionLua, historyLua)
	sessionsScript    = reads(sessionLua, turnLua, sessionsLua)
	deleteScript      = goesOn(sessionLua, turnLua, deleteLua)
	claimScript       = begins(turnLua, claimLua)
	claimKeyScript    = begins(cachedLua, turnLua, slotsLua, claimKeyLua)
	beginScript       = begins(cachedLua, sessionLua, turnLua, slotsLua, beginLua)
	publishScript     = goesOn(turnLua, publishLua)
	lostScript        = reads(turnLua, lostLua)
	endLostScript     = goesOn(sessionLua, turnLua, endLostLua)
	cancelScript      = goesOn(turnLua, cancelLua)
	followScript      = reads(turnLua, followLua)
	checkScript       = reads(checkLua)
	findTurnScript    = reads(turnLua, findTurnLua)
)

// begins makes one that begins something. A server whose memory is full refuses it as a
// whole, and not half done.
func begins(parts ...string) *rueidis.Lua {
	return rueidis.NewLuaScript("#!lua\n" + clockLua + strings.Join(parts, ""))
}

// goesOn makes one that also runs then, since it gives back, or goes on with what has
// begun.
func goesOn(parts ...string) *rueidis.Lua {
	return rueidis.NewLuaScript("#!lua flags=allow-oom\n" + clockLua + strings.Join(parts, ""))
}

// reads makes one that also runs where nothing can be written, as long as it has
// nothing to tidy up.
func reads(parts ...string) *rueidis.Lua {
	return rueidis.NewLuaScript(clockLua + strings.Join(parts, ""))
}
