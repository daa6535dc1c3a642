package badger

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// A key begins with its space. What tenants own is under spaceTenant, one
// prefix a tenant, and then a letter for the concern:
//
//	t <tenant> s <user> <id>          a session (encodeMeta)
//	t <tenant> r <user> <updated> id  its place in the user's list (empty)
//	t <tenant> m <incarnation> <seq>  a message (expiry, encodeMessage)
//	t <tenant> b <key>                a counter of a budget (used, until)
//	t <tenant> c <digest>             a cached value (expiry, value)
//
// Strings that others choose are written with their length in front, so that
// none is a prefix of another whatever it holds.
const (
	spaceTenant = 't'
	spaceLimits = 'l' // what the limiter knew at Close
	spaceSlides = 'w' // what slid in the ledgers at Close
	spaceTrash  = 'x' // prefixes that nothing leads to any more

	letterSession = 's'
	letterRecent  = 'r'
	letterMessage = 'm'
	letterBudget  = 'b'
	letterCache   = 'c'
)

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// concern returns the prefix of all that one letter holds for a tenant.
func concern(tenant string, letter byte) []byte {
	b := make([]byte, 0, 128)
	b = append(b, spaceTenant)
	b = appendString(b, tenant)
	return append(b, letter)
}

func sessionKey(tenant string, s store.SessionKey) []byte {
	b := appendString(concern(tenant, letterSession), s.User)
	return appendString(b, s.ID)
}

func recentPrefix(tenant, user string) []byte {
	return appendString(concern(tenant, letterRecent), user)
}

// recentKey sorts by time and then by id, so that the list of a user is this
// prefix read backwards.
func recentKey(tenant string, s store.SessionKey, updated int64) []byte {
	b := binary.BigEndian.AppendUint64(recentPrefix(tenant, s.User), sortable(updated))
	return append(b, s.ID...)
}

// sortable maps milliseconds to what sorts in the same order as bytes, years
// before 1970 included.
func sortable(ms int64) uint64 { return uint64(ms) ^ 1<<63 }

// messagePrefix is made of the session's incarnation alone. It is drawn at
// random when a session begins, which is what keeps a session from seeing
// the messages of a deleted one with the same id.
func messagePrefix(tenant string, incarnation []byte) []byte {
	return append(concern(tenant, letterMessage), incarnation...)
}

func messageKey(prefix []byte, seq uint64) []byte {
	b := make([]byte, 0, len(prefix)+8)
	return binary.BigEndian.AppendUint64(append(b, prefix...), seq)
}

func budgetKey(tenant, key string) []byte {
	return append(concern(tenant, letterBudget), key...)
}

// cacheKey holds a digest because callers may put a whole request into their
// key, and Badger's keys end at 64 KiB.
func cacheKey(tenant, key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return append(concern(tenant, letterCache), sum[:]...)
}

func limitKey(n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{spaceLimits}, n)
}

func slideKey(n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{spaceSlides}, n)
}

func trashKey(prefix []byte) []byte {
	return append([]byte{spaceTrash}, prefix...)
}
