package aigateway

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// maxModelPage is the largest page of Anthropic's API. Without a limit ours has all models,
// and not 20: clients that know no pages would miss some.
const maxModelPage = 1000

// modelPage returns the part of a list that a client of Anthropic's API asks for: the models
// right behind one, or those right before one. more says that there are others beyond it.
func modelPage(list []modelInfo, query url.Values) (page []modelInfo, more bool, err error) {
	limit := len(list)
	if s := query.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxModelPage {
			return nil, false, apierror.InvalidRequest("limit", "want a whole number from 1 to 1000")
		}
		limit = n
	}
	after, before := query.Get("after_id"), query.Get("before_id")
	if after != "" && before != "" {
		return nil, false, apierror.InvalidRequest("before_id", "want it without after_id")
	}
	place := func(name, id string) (int, error) {
		i := slices.IndexFunc(list, func(m modelInfo) bool { return m.ID == id })
		if i < 0 {
			return 0, apierror.InvalidRequest(name, "want the id of a model")
		}
		return i, nil
	}
	switch {
	case before != "":
		end, err := place("before_id", before)
		if err != nil {
			return nil, false, err
		}
		begin := max(0, end-limit)
		return list[begin:end], begin > 0, nil
	case after != "":
		i, err := place("after_id", after)
		if err != nil {
			return nil, false, err
		}
		list = list[i+1:]
	}
	end := min(limit, len(list))
	return list[:end], end < len(list), nil
}
