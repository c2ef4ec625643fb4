// Reads of online features, answered from the tables themselves.

#ifndef MAINSPRING_SRC_FRONT_FEATURE_READS_H_
#define MAINSPRING_SRC_FRONT_FEATURE_READS_H_

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "answering.h"
#include "feature_plan.h"
#include "mainspring/front.h"

namespace mainspring::front {

// The views that are answered, with what each thread needs to read them.
class FeatureReads final : public Answering {
 public:
  // `max_rows`: of a request; more is the app's to refuse.
  FeatureReads(std::vector<FrontView> views, std::vector<FrontService> services, std::size_t max_rows,
               std::shared_ptr<ModelBook> book);
  ~FeatureReads() override;

  // Missing: an absent entity, a null key, a row from the future or past its age are data: nulls and a
  // status.
  bool Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
              MadeAnswer* answer) const override;

 private:
  struct Reading;

  KnownViews views_;
  KnownServices services_;
  const std::size_t max_rows_;
  std::vector<std::unique_ptr<Reading>> readings_;  // one for each thread, used by it alone
};

// The paths that reads are asked at: ours, and that of Feast's feature server.
void AddPaths(const std::shared_ptr<const FeatureReads>& reads, std::vector<PathTable::Entry>* by_path);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_FEATURE_READS_H_
