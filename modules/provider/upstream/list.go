package upstream

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

const (
	// maxList is the largest list that is read, in bytes.
	maxList = 4 << 20

	// maxModels is how many models of a list are kept.
	maxModels = 5000
)

// Models asks the provider for the names of its models. NewRequest has made req, for
// the path of the list. list and name are gjson paths, of the list in the answer
// and of a name in one of its items.
func (u *Upstream) Models(req *http.Request, list, name string) ([]string, error) {
	req.Method, req.Body, req.GetBody, req.ContentLength = http.MethodGet, nil, nil, 0
	req.Header.Del("Content-Type")
	resp, err := u.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxList+1))
	if err != nil {
		return nil, Failure(req.Context(), fmt.Errorf("reading the list of models: %w", err))
	}
	raw = trim(raw)
	if len(raw) > maxList || !gjson.ValidBytes(raw) {
		return nil, BadAnswer(resp, "no list of models")
	}
	items := gjson.GetBytes(raw, list)
	if list == "" {
		items = gjson.ParseBytes(raw)
	}
	if !items.IsArray() {
		return nil, BadAnswer(resp, "no list of models")
	}
	return namesIn(items, name), nil
}

func namesIn(items gjson.Result, path string) []string {
	var names []string
	items.ForEach(func(_, item gjson.Result) bool {
		if name := item.Get(path).Str; provider.ValidModel(name) {
			names = append(names, strings.Clone(name)) // not a part of the answer
		}
		return len(names) < maxModels
	})
	return names
}
