package chat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// maxTenantFile is the largest tenant file that is read, in bytes.
const maxTenantFile = 1 << 20

// readRegular reads a file that must not be larger than maxTenantFile. It opens
// neither folders nor pipes, which might never end.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTenantFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxTenantFile {
		return nil, fmt.Errorf("%s: larger than %d bytes, the most that a tenant file may have", name, maxTenantFile)
	}
	return data, nil
}

// readTenantFile reads one tenant. Errors begin with file:line.
func readTenantFile(name string, repl *caddy.Replacer) (*tenant.Tenant, error) {
	data, err := readRegular(name)
	if err != nil {
		return nil, fmt.Errorf("tenants: %w", err)
	}
	var c TenantConfig
	if err := json.Unmarshal(data, &c, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, errorLine(data, err), plainError(err))
	}
	t, err := c.build(repl)
	if err != nil {
		line := 1
		if fe, ok := errors.AsType[*fieldError](err); ok {
			line = memberLine(data, fe.field)
		}
		return nil, fmt.Errorf("%s:%d: %w", name, line, err)
	}
	t.PlainKeys = c.hasPlainKeys()
	t.Origin = fmt.Sprintf("%s:%d", name, memberLine(data, "id"))
	return t, nil
}

func errorLine(data []byte, err error) int {
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return lineAt(data, syntactic.ByteOffset)
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return lineAt(data, semantic.ByteOffset)
	}
	return 1
}

// plainError says what is wrong in a tenant file in the file's own words,
// not in those of Go's types.
func plainError(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return err
	}
	field := strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", ".")
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("unrecognized member %s", field)
	case semantic.Err != nil:
		return fmt.Errorf("%s: %w", field, semantic.Err)
	default:
		return fmt.Errorf("%s: cannot be a JSON %s", field, semantic.JSONKind)
	}
}

func lineAt(data []byte, offset int64) int {
	offset = min(max(offset, 0), int64(len(data)))
	// an offset may point at the white space before what is wrong
	for offset < int64(len(data)) && strings.IndexByte(" \t\r\n,:", data[offset]) >= 0 {
		offset++
	}
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

// memberLine finds the line of a member of the document's object.
func memberLine(data []byte, name string) int {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	want := jsontext.Pointer("").AppendToken(name)
	for {
		if _, err := d.ReadToken(); err != nil {
			return 1
		}
		if d.StackPointer() == want {
			return lineAt(data, d.InputOffset()-1)
		}
	}
}
