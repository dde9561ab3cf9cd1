// SPDX-License-Identifier: Apache-2.0
// The same ranker as ranker.c, in C++: ownership by unique_ptr, errors by
// exceptions.
#include <interest.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Closer {
    void operator()(interest_model *model) const { interest_close(model); }
    void operator()(interest_scorer *scorer) const
    {
        interest_scorer_close(scorer);
    }
};
using Model = std::unique_ptr<interest_model, Closer>;
using Scorer = std::unique_ptr<interest_scorer, Closer>;

void check(int status, const interest_error &error)
{
    if (status != INTEREST_OK)
        throw std::runtime_error(error.text);
}

// "a,b;c,d" -> ids, item by item.
std::vector<uint64_t> parse(const Model &model, std::string text)
{
    const unsigned fields = interest_field_count(model.get(), 1);
    std::vector<uint64_t> ids;
    for (const char *at = text.c_str(); *at;) {
        for (unsigned i = 0; i < fields; i++) {
            const size_t size = std::strcspn(at, ",;");
            ids.push_back(size ? interest_id(model.get(), 1, i, at, size) : 0);
            at += size;
            at += *at == ',';
        }
        at += std::strcspn(at, ";");
        at += *at == ';';
    }
    return ids;
}

void rank(const char *folder, const char *past, const char *candidates)
{
    interest_error error;
    interest_model *opened;
    check(interest_open(folder, &opened, &error), error);
    const Model model(opened);
    const auto history = parse(model, past), items = parse(model, candidates);
    const unsigned fields = interest_field_count(model.get(), 1);
    const std::vector<uint64_t> unknown(32, 0);
    interest_request request{};
    request.profile = request.context = unknown.data();
    request.history = history.data();
    request.history_size = history.size() / fields;
    request.items = items.data();
    request.candidates = items.size() / fields;

    interest_scorer *scratch;
    check(interest_scorer_open(model.get(), request.history_size,
                               request.candidates, &scratch, &error),
          error);
    const Scorer scorer(scratch);
    std::vector<float> probability(request.candidates);
    interest_version version;
    check(interest_score(scorer.get(), &request, probability.data(), nullptr,
                         &version, &error),
          error);
    for (size_t i = 0; i < probability.size(); i++)
        std::printf("%s candidate %zu: %.6f\n", version.name, i,
                    static_cast<double>(probability[i]));
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 4) {
        std::fprintf(stderr, "usage: ranker FOLDER HISTORY CANDIDATES\n");
        return 64;
    }
    try {
        rank(argv[1], argv[2], argv[3]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "ranker: %s\n", error.what());
        return 1;
    }
    return 0;
}
