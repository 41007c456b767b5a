#include "shared/task/words.h"

#include <sstream>

namespace fulmen::task {
namespace {

std::vector<std::string> split(const char* text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

}  // namespace

const std::vector<std::string>& english_words() {
  static const auto words = split(
      "able acid actor adult agent album alert alley amber anchor angle ankle apple apron arena armor arrow artist "
      "aspect "
      "atlas attic author autumn avenue baker balance bamboo banana barrel basin basket battle beacon beaver berry "
      "bishop "
      "blanket blossom border bottle bottom branch brass bread breeze brick bridge bronze brother bucket budget "
      "buffalo "
      "button cabin cable cactus camel camera candle canvas canyon carbon carpet castle cattle cellar cement center "
      "chain "
      "chair chalk chapel cherry chess chief circle citizen clay clerk cliff clock cloud clover coast coffee collar "
      "column "
      "comet copper coral corner cotton counter cousin cradle crane cream cricket crown crystal current curtain custom "
      "dance danger daughter dawn decade deer delta dentist desert desk diamond dinner doctor dolphin donkey door "
      "dragon "
      "drawer dream driver drum eagle earth east echo editor elbow elephant engine error event exit fabric factory "
      "falcon "
      "farmer feather fence ferry festival fiber field figure finger fire flag flame flavor flock flood floor flower "
      "flute "
      "forest fork fossil fountain fox frame friend frost fruit galaxy garden garlic gate giant ginger glacier glass "
      "globe "
      "glove goat gold goose grain granite grape grass gravel guard guest guitar hammer harbor harvest hawk hazel "
      "heart "
      "hedge helmet hero hill honey hood horizon horse hotel hour house humor hunter hut ice idea igloo image inch "
      "insect "
      "iron island ivory jacket jaguar jar jewel jockey journey judge juice jungle junior kettle key king kitchen kite "
      "knee knife knight label ladder lake lamp lantern laptop lawn lawyer leaf lemon lens letter level lily linen "
      "lion "
      "lizard lobster locket lotus lumber lunch machine magnet mango maple marble market marsh mason meadow medal "
      "melon "
      "memory metal meteor miller mineral minute mirror mist mitten monkey month moon mortar mother motor mountain "
      "mouse "
      "museum music mustard nation needle nephew nest night noodle north notebook number nurse oak oasis ocean office "
      "olive "
      "onion opera orange orbit orchard organ otter oven owner oxygen oyster paddle palace panda panel paper parade "
      "parent "
      "park parrot pasta path patient pearl pebble pencil pepper person piano picnic pigeon pillow pilot pine pirate "
      "planet "
      "plate plaza pocket poem poet pond poppy portrait potato powder prince printer prize pumpkin puppet quarry queen "
      "quilt rabbit radar radio rain ranch raven razor record region reptile rhythm ribbon rice ridge ring river road "
      "robin "
      "robot rocket roof room root rope rose ruler saddle sailor salad salmon salt sand scarf school science season "
      "secret "
      "senator shadow shark sheep shell shelter ship shoe shore signal silk silver singer sister sketch skirt sky "
      "slate "
      "sleeve smoke snail snow soap socket soldier song soup south spark sparrow sphere spice spider spoon spring "
      "square "
      "squid stable stage star station steam steel stone storm story stove straw stream street string student sugar "
      "summer "
      "sun swan sweater sword symbol table tailor teacher temple tennis theater thread thunder ticket tiger timber "
      "toast "
      "tomato tower town tractor train treasure tree triangle trumpet tunnel turkey turtle uncle valley vanilla vessel "
      "village vine violet violin voice volcano wagon walnut walrus water wave wealth weather west whale wheat wheel "
      "whisper willow window wing winter wizard wolf wood wool worker yacht yard year yogurt zebra zinc zone");
  return words;
}

const std::vector<std::string>& people() {
  static const auto names = split(
      "Ada Ben Clara David Emma Felix Grace Hugo Iris Jonas Kira Leo Mara Noah Olga Paul Quinn Rosa Simon Tara Umar "
      "Vera "
      "Walter Xenia Yusuf Zoe Anton Bella Carlos Dora Erik Fiona");
  return names;
}

const std::vector<std::string>& colours() {
  static const auto words = split("red blue green yellow white black brown purple orange pink grey golden");
  return words;
}

const std::vector<std::string>& things() {
  static const auto words = split(
      "book lamp cup knife hat scarf bell box map key coin vase brush kite drum ring spoon clock basket candle mirror "
      "pen "
      "rope bottle");
  return words;
}

const std::vector<std::string>& places() {
  static const auto words = split(
      "library museum station market harbor theater bakery school garden hotel zoo pool park cinema office farm gym "
      "cafe");
  return words;
}

}  // namespace fulmen::task
