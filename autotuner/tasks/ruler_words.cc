// Words that keys are made of: short, common, and not in each other.
#include <array>

#include "autotuner/tasks/ruler.h"

namespace kvpareto::tune {
namespace {

constexpr std::array<std::string_view, 100> kAdjectives = {
    "amber",    "ancient", "arctic",   "autumn", "bitter",   "blue",    "bold",     "brave",
    "bright",   "brisk",   "broken",   "bronze", "calm",     "careful", "cheerful", "clever",
    "cloudy",   "cold",    "coral",    "cosmic", "crimson",  "curious", "dark",     "dazzling",
    "deep",     "distant", "dusty",    "eager",  "early",    "earnest", "elegant",  "empty",
    "faint",    "famous",  "fierce",   "floral", "fragrant", "frosty",  "gentle",   "gigantic",
    "glad",     "golden",  "graceful", "grand",  "green",    "hidden",  "hollow",   "honest",
    "humble",   "icy",     "ivory",    "jolly",  "keen",     "kind",    "late",     "lively",
    "lonely",   "lucky",   "marble",   "mellow", "merry",    "mighty",  "misty",    "modern",
    "muddy",    "narrow",  "nervous",  "noble",  "northern", "odd",     "orange",   "patient",
    "pleasant", "polite",  "proud",    "purple", "quiet",    "rapid",   "rare",     "rough",
    "royal",    "rusty",   "scarlet",  "shy",    "silent",   "silver",  "sleepy",   "smooth",
    "snowy",    "solid",   "spare",    "sturdy", "subtle",   "sunny",   "swift",    "tender",
    "velvet",   "warm",    "wild",     "young"};

constexpr std::array<std::string_view, 100> kNouns = {
    "anchor",  "apple",  "arrow",   "badger",  "balloon",  "barrel",   "basket",  "beacon",
    "blanket", "bottle", "bridge",  "bucket",  "butter",   "cabin",    "camera",  "candle",
    "canyon",  "carpet", "castle",  "cavern",  "cherry",   "circle",   "clock",   "copper",
    "cottage", "cradle", "curtain", "dolphin", "dragon",   "drawer",   "engine",  "falcon",
    "feather", "fiddle", "finger",  "flower",  "forest",   "fountain", "garden",  "ginger",
    "glacier", "guitar", "hammer",  "harbor",  "helmet",   "honey",    "island",  "jacket",
    "jungle",  "kettle", "kitchen", "ladder",  "lantern",  "lemon",    "library", "lizard",
    "magnet",  "meadow", "mirror",  "monkey",  "mountain", "museum",   "mustard", "napkin",
    "needle",  "nickel", "ocean",   "orchard", "oyster",   "parrot",   "pebble",  "pencil",
    "pepper",  "pillow", "planet",  "pocket",  "pumpkin",  "quarry",   "rabbit",  "raven",
    "ribbon",  "river",  "rocket",  "saddle",  "salmon",   "shadow",   "signal",  "sparrow",
    "spider",  "sponge", "stable",  "teapot",  "temple",   "thunder",  "tiger",   "timber",
    "turtle",  "valley", "walnut",  "window"};

}  // namespace

std::string RandomKey(TaskRandom& random) {
  const std::string_view adjective = kAdjectives[random.Below(kAdjectives.size())];
  const std::string_view noun = kNouns[random.Below(kNouns.size())];
  return std::string(adjective) + "-" + std::string(noun);
}

}  // namespace kvpareto::tune
