package badger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Messages and sessions are written as their fields, one after the other: a
// turn reads many of them, and JSON took longer than all the rest. Earlier
// versions wrote JSON objects, which are still read.
const (
	recordFields = 1   // first byte of fields in this order
	recordJSON   = '{' // first byte of a JSON object
)

var errRecord = errors.New("record was written in another form")

// encodeMessage puts Raw last: it may be large, and is not a string.
func encodeMessage(m *store.Message) []byte {
	size := len(m.ID) + len(m.Role) + len(m.Content) + len(m.ModelID) + len(m.Status) + len(m.Raw)
	b := make([]byte, 0, size+64)
	b = append(b, recordFields)
	b = appendString(b, m.ID)
	b = appendString(b, m.Role)
	b = appendString(b, m.Content)
	b = appendString(b, m.ModelID)
	b = appendString(b, m.Status)
	b = binary.AppendVarint(b, m.Time.Unix())
	b = binary.AppendVarint(b, int64(m.Time.Nanosecond()))
	b = binary.AppendVarint(b, int64(m.TokenCount))
	return append(b, m.Raw...)
}

func decodeMessage(value []byte) (m store.Message, err error) {
	if isJSON(value) {
		err = json.Unmarshal(value, &m)
		return m, err
	}
	f := fieldsOf(value)
	m.ID, m.Role, m.Content, m.ModelID, m.Status = f.text(), f.text(), f.text(), f.text(), f.text()
	m.Time = time.Unix(f.number(), f.number())
	m.TokenCount = int(f.number())
	if len(f.rest) > 0 {
		m.Raw = bytes.Clone(f.rest)
	}
	return m, f.err
}

func encodeMeta(m *meta) []byte {
	b := make([]byte, 0, len(m.Incarnation)+len(m.Title)+80)
	b = append(b, recordFields)
	b = appendString(b, string(m.Incarnation))
	b = appendString(b, m.Title)
	for _, n := range []int64{m.Created, m.Updated, int64(m.First), int64(m.Next), m.Soonest, m.Latest} {
		b = binary.AppendVarint(b, n)
	}
	if m.Mixed {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeMeta(value []byte) (*meta, error) {
	m := new(meta)
	if isJSON(value) {
		return m, json.Unmarshal(value, m)
	}
	f := fieldsOf(value)
	m.Incarnation, m.Title = []byte(f.text()), f.text()
	m.Created, m.Updated = f.number(), f.number()
	m.First, m.Next = uint64(f.number()), uint64(f.number())
	m.Soonest, m.Latest = f.number(), f.number()
	m.Mixed = len(f.rest) == 1 && f.rest[0] == 1
	return m, f.err
}

func isJSON(value []byte) bool { return len(value) > 0 && value[0] == recordJSON }

// fields reads the fields of a record.
type fields struct {
	rest []byte
	err  error
}

func fieldsOf(value []byte) fields {
	if len(value) == 0 || value[0] != recordFields {
		return fields{err: errRecord}
	}
	return fields{rest: value[1:]}
}

func (f *fields) number() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) text() string {
	size, n := binary.Uvarint(f.rest)
	if n <= 0 || size > uint64(len(f.rest)-n) {
		f.fail()
		return ""
	}
	b := f.rest[n : n+int(size)]
	f.rest = f.rest[n+int(size):]
	return known(b)
}

func (f *fields) fail() { f.rest, f.err = nil, errRecord }

// known spares the copies of words that nearly all messages have.
func known(b []byte) string {
	switch string(b) {
	case "":
		return ""
	case "user":
		return "user"
	case "assistant":
		return "assistant"
	case store.StatusComplete:
		return store.StatusComplete
	}
	return string(b)
}
