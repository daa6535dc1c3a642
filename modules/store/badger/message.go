package badger

import (
	"fmt"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// appending is an Append on its way.
type appending struct {
	values   [][]byte
	expiries []int64
	updated  int64
}

// encode does before the lock what needs none.
func encode(opts store.AppendOptions, msgs []*store.Message) (*appending, error) {
	a := &appending{updated: msgs[len(msgs)-1].Time.UnixMilli()}
	for _, m := range msgs {
		value := encodeMessage(m)
		if len(value) > maxValue {
			return nil, fmt.Errorf("message of %d bytes, the most is %d", len(value), maxValue)
		}
		expiry := int64(never)
		if opts.Retention > 0 {
			expiry = m.Time.Add(opts.Retention).UnixMilli()
		}
		a.values = append(a.values, stamped(expiry, value))
		a.expiries = append(a.expiries, expiry)
	}
	return a, nil
}
