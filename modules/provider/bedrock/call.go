package bedrock

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// service is Bedrock's name in a signature.
const service = "bedrock"

// resolve resolves the placeholders of an option, or of its default. empty says
// what is missing if the result is empty.
func resolve(repl *caddy.Replacer, name, value, byDefault string) (resolved string, empty, err error) {
	if value == "" {
		value = byDefault
	}
	resolved, err = repl.ReplaceOrErr(value, false, true)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", name, err)
	}
	// A value from a file often ends with a newline.
	if resolved = strings.TrimSpace(resolved); resolved == "" {
		// The value consists of placeholders only, so it is safe to show.
		empty = fmt.Errorf("%s: %s is empty", name, value)
	}
	return resolved, empty, nil
}

// valid says whether the parts that go into headers are valid there.
func (k accessKey) valid() bool {
	return httpguts.ValidHeaderFieldValue(k.id) && httpguts.ValidHeaderFieldValue(k.token)
}

// accessKeyFor returns the access keys that sign a call. ok is false if the
// call carries a Bedrock API key instead.
func (b *Bedrock) accessKeyFor(preq *provider.Request) (key accessKey, ok bool, err error) {
	whole, err := b.Key(preq)
	if err != nil {
		return accessKey{}, false, err
	}
	if whole == "" {
		key, err = b.key, b.keyErr
	} else if !strings.Contains(whole, ":") {
		if !httpguts.ValidHeaderFieldValue(whole) {
			err = errors.New("api_key: must not contain control characters")
		}
		return accessKey{}, false, credentials(err)
	} else {
		parts := append(strings.SplitN(whole, ":", 3), "")
		key = accessKey{id: parts[0], secret: parts[1], token: parts[2]}
		if key.id == "" || key.secret == "" || !key.valid() {
			err = errors.New("api_key: want a Bedrock API key, or ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN]")
		}
	}
	return key, true, credentials(err)
}

// credentials is the failure of a call that cannot be authorized.
func credentials(err error) error {
	if err == nil {
		return nil
	}
	return &provider.Error{Reason: provider.ReasonCredentials, Err: err}
}

// call makes a call for a whole answer or a stream. names tells the names of the
// request's tools back.
func (b *Bedrock) call(ctx context.Context, preq *provider.Request, stream bool) (resp *http.Response, names *dialect.Names, err error) {
	switch preq.Model {
	case "", ".", "..":
		// In a path these mean something else.
		return nil, nil, &provider.Error{Reason: provider.ReasonModel, Err: fmt.Errorf("%q is not a model's name", preq.Model)}
	}
	key, signed, err := b.accessKeyFor(preq)
	if err != nil {
		return nil, nil, err
	}
	if b.regionErr != nil && (signed || b.BaseURL == "") {
		return nil, nil, credentials(b.regionErr)
	}
	body, names, err := b.body(preq)
	if err != nil {
		return nil, nil, err
	}
	path := "/model/" + escape(preq.Model, "") + "/converse"
	if stream {
		path += "-stream"
	}
	req, err := b.NewRequest(ctx, preq, path, body, stream)
	if err != nil {
		return nil, nil, err
	}
	if stream {
		req.Header.Set("Accept", "application/vnd.amazon.eventstream")
	}
	if signed {
		// Do sets the configured headers again, which changes nothing.
		b.SetHeaders(req)
		signer{key, b.region, service}.sign(req, body, b.now())
	}
	resp, err = b.Do(req)
	if e, ok := errors.AsType[*provider.Error](err); ok {
		return nil, nil, sorted(e)
	}
	return resp, names, err
}
