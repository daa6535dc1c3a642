package badger

import (
	"bytes"
	"encoding/json"
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
		value, err := encodeMessage(m)
		if err != nil {
			return nil, err
		}
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

// encodeMessage leaves what HTML has a meaning for as it is: escaped, it would
// be another text than the one that came, and up to six times as long.
func encodeMessage(m *store.Message) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(m)
	return b.Bytes(), err
}
